/** A picture or file. An <img> cannot send a token, so the bytes are fetched and shown from memory. */

import { useEffect, useState } from "react";
import type { Attachment } from "../api/types";
import type { Session } from "../store/session";
import { fileSize } from "./format";
import { Icon } from "./Icon";

const SHOWN = ["image/png", "image/jpeg", "image/gif", "image/webp"];

export function AttachmentView({ session, attachment }: { session: Session; attachment: Attachment }) {
  const isPicture = SHOWN.includes(attachment.mediaType);
  const [url, setUrl] = useState("");
  const [failed, setFailed] = useState(false);

  useEffect(() => {
    if (!isPicture) return;
    const abort = new AbortController();
    let made = "";
    session.rest
      .download(attachment.url, abort.signal)
      .then((blob) => {
        made = URL.createObjectURL(blob);
        setUrl(made);
      })
      .catch(() => !abort.signal.aborted && setFailed(true));
    return () => {
      abort.abort();
      if (made) URL.revokeObjectURL(made);
    };
  }, [session, attachment.url, isPicture]);

  async function save() {
    const blob = await session.rest.download(attachment.url, new AbortController().signal);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = attachment.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  if (isPicture && !failed)
    return url ? (
      <img className="picture" src={url} alt={attachment.name} />
    ) : (
      <div className="picture loading" />
    );
  return (
    <button type="button" className="file" onClick={() => void save().catch(() => setFailed(true))}>
      <Icon name="file" />
      <span dir="auto">{attachment.name}</span>
      <span className="muted">{fileSize(attachment.size)}</span>
    </button>
  );
}
