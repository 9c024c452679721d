// SPDX-License-Identifier: MIT

//go:debug default=go1.24

// Go's crypto/tls as client or server; its orders are JSON (tests/interop/tls/peers.py).
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"time"
)

type orders struct {
	Role              string
	IP                string
	Port              int
	Host              string
	Trust, Chain, Key string
	Version           string
	CipherIANA        string `json:"cipher_iana"`
	Groups, ALPN      []string
	ClientCertificate bool `json:"client_certificate"`
	Connections       int
	Request           string
}

type seen struct {
	Version string `json:"version"`
	Cipher  string `json:"cipher"`
	ALPN    string `json:"alpn"`
	Resumed bool   `json:"resumed"`
	Body    string `json:"body"`
}

var versions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}
var groups = map[string]tls.CurveID{
	"x25519": tls.X25519, "secp256r1": tls.CurveP256, "secp384r1": tls.CurveP384, "X25519MLKEM768": tls.X25519MLKEM768,
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func configuration(o orders) *tls.Config {
	pem, err := os.ReadFile(o.Trust)
	must(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	version := versions[o.Version]
	c := &tls.Config{MinVersion: version, MaxVersion: version, RootCAs: pool, ClientCAs: pool, ServerName: o.Host,
		NextProtos: o.ALPN, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	if o.Chain != "" {
		certificate, err := tls.LoadX509KeyPair(o.Chain, o.Key)
		must(err)
		c.Certificates = []tls.Certificate{certificate}
	}
	if o.ClientCertificate && o.Role == "server" {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	for _, name := range o.Groups {
		c.CurvePreferences = append(c.CurvePreferences, groups[name])
	}
	for _, suite := range tls.CipherSuites() {
		if suite.Name == o.CipherIANA && o.Version == "1.2" {
			c.CipherSuites = []uint16{suite.ID}
		}
	}
	return c
}

func describe(c *tls.Conn, body string) seen {
	s := c.ConnectionState()
	version := map[uint16]string{tls.VersionTLS12: "TLSv1.2", tls.VersionTLS13: "TLSv1.3"}[s.Version]
	return seen{version, tls.CipherSuiteName(s.CipherSuite), s.NegotiatedProtocol, s.DidResume, body}
}

func client(o orders, c *tls.Config) {
	var last seen
	for i := 0; i < o.Connections; i++ {
		plain, err := net.DialTimeout("tcp", net.JoinHostPort(o.IP, fmt.Sprint(o.Port)), 20*time.Second)
		must(err)
		plain.SetDeadline(time.Now().Add(20 * time.Second))
		conn := tls.Client(plain, c)
		_, err = conn.Write([]byte(o.Request))
		must(err)
		// An end without close_notify is io.ErrUnexpectedEOF.
		body, err := io.ReadAll(conn)
		must(err)
		last = describe(conn, string(body))
		conn.Close()
	}
	must(json.NewEncoder(os.Stdout).Encode(last))
}

func serve(conn *tls.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	buffer := make([]byte, 65536)
	n, err := conn.Read(buffer)
	if err != nil || !bytes.HasSuffix(buffer[:n], []byte("\r\n\r\n")) {
		log.Print(n, err)
		return
	}
	body, _ := json.Marshal(describe(conn, ""))
	fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func main() {
	var o orders
	must(json.Unmarshal([]byte(os.Args[1]), &o))
	c := configuration(o)
	if o.Role == "client" {
		client(o, c)
		return
	}
	listener, err := tls.Listen("tcp", net.JoinHostPort(o.IP, fmt.Sprint(o.Port)), c)
	must(err)
	for {
		conn, err := listener.Accept()
		must(err)
		go serve(conn.(*tls.Conn))
	}
}
