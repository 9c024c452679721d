"use strict";

fetch("/api/visits")
  .then((answer) => answer.json())
  .then((data) => {
    document.getElementById("visits").textContent = data.visits;
  });

const socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/chat");
const line = document.getElementById("line");
const lines = document.getElementById("lines");

socket.addEventListener("message", (event) => {
  const item = document.createElement("li");
  item.textContent = event.data;
  lines.append(item);
});

document.getElementById("chat").addEventListener("submit", (event) => {
  event.preventDefault();
  if (line.value && socket.readyState === WebSocket.OPEN) {
    socket.send(line.value);
    line.value = "";
  }
});
