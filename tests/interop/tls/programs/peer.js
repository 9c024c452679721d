// SPDX-License-Identifier: MIT
// Node's tls as client or server; its orders are JSON (tests/interop/tls/peers.py).
'use strict';
const fs = require('fs');
const tls = require('tls');

const orders = JSON.parse(process.argv[2]);
const CURVES = { x25519: 'X25519', secp256r1: 'P-256', secp384r1: 'P-384' };
const options = {
  minVersion: 'TLSv' + orders.version,
  maxVersion: 'TLSv' + orders.version,
  ca: fs.readFileSync(orders.trust),
};
if (orders.chain) {
  options.cert = fs.readFileSync(orders.chain);
  options.key = fs.readFileSync(orders.key);
}
if (orders.cipher) options.ciphers = orders.cipher;
if (orders.groups.length) options.ecdhCurve = orders.groups.map((name) => CURVES[name] || name).join(':');
if (orders.alpn.length) options.ALPNProtocols = orders.alpn;

function describe(socket, body) {
  const group = socket.isServer ? {} : socket.getEphemeralKeyInfo();
  return JSON.stringify({
    version: socket.getProtocol(),
    cipher: socket.getCipher().standardName,
    group: group.name || '',
    alpn: socket.alpnProtocol || '',
    resumed: socket.isSessionReused(),
    body,
  });
}

function connect(left, session) {
  let newest = null;
  let body = '';
  let seen = '';
  const socket = tls.connect(
    { ...options, host: orders.ip, port: orders.port, servername: orders.host, session }, () => {
      seen = describe(socket, '');
      socket.write(orders.request);
    });
  socket.setTimeout(20000, () => { console.error('timeout'); process.exit(1); });
  socket.on('session', (data) => { newest = data; });
  socket.on('data', (data) => { body += data; });
  socket.on('error', (error) => { console.error(error); process.exit(1); });
  socket.on('close', () => {
    if (left > 1) return connect(left - 1, newest);
    console.log(JSON.stringify({ ...JSON.parse(seen), body }));
  });
}

if (orders.role === 'client') {
  connect(orders.connections, undefined);
} else {
  options.requestCert = options.rejectUnauthorized = orders.client_certificate;
  const server = tls.createServer(options, (socket) => {
    socket.isServer = true;
    socket.on('error', (error) => console.error(error));
    socket.on('data', (data) => {
      if (!data.toString().endsWith('\r\n\r\n')) return;
      const body = describe(socket, '');
      socket.end(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    });
  });
  server.on('tlsClientError', (error) => console.error(error));
  server.listen(orders.port, orders.ip);
}
