// The live stream: hello as text, frames as bytes; opened again whenever it is lost.

import { decode } from "./store.js";

const FIRST_PAUSE_MS = 300;
const LONGEST_PAUSE_MS = 5000;

/** Follow the server for ever. `on` has hello(document), watch(document), frame(frame) and lost(). */
export function follow(on) {
  let pause = FIRST_PAUSE_MS;
  const open = () => {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/live`);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => {
      pause = FIRST_PAUSE_MS;
      if (typeof data !== "string") {
        on.frame(decode(data));
        return;
      }
      const said = JSON.parse(data);
      on[said.kind](said);
    };
    socket.onclose = () => {
      on.lost();
      setTimeout(open, pause);
      pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
    };
  };
  open();
}
