/** Tells when the connection is gone; a short blink on the way is not worth a word. */

import { useEffect, useState } from "react";
import type { Connection } from "../socket/socketClient";

const PATIENCE_MS = 800;

export function ConnectionBanner({ connection }: { connection: Connection }) {
  const [shown, setShown] = useState(false);
  const away = connection !== "open";
  useEffect(() => {
    if (!away) {
      setShown(false);
      return;
    }
    const timer = setTimeout(() => setShown(true), PATIENCE_MS);
    return () => clearTimeout(timer);
  }, [away]);
  return (
    <div className={shown ? "banner shown" : "banner"} role="status">
      {shown && "Connecting… Messages will be sent when the connection is back."}
    </div>
  );
}
