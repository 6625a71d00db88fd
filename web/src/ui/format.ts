/** How times and messages read. */

import type { Message } from "../api/types";
import type { ChatState } from "../store/state";

const DAY_MS = 86_400_000;

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "short" });
const date = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const fullDate = new Intl.DateTimeFormat(undefined, {
  weekday: "long",
  day: "numeric",
  month: "long",
  year: "numeric",
});

export const clockTime = (time: string): string => clock.format(new Date(time));
export const dayOf = (time: string): string => fullDate.format(new Date(time));

/** The time today, the weekday this week, the date before that. */
export function shortTime(time: string, now = Date.now()): string {
  const moment = new Date(time);
  if (moment.toDateString() === new Date(now).toDateString()) return clock.format(moment);
  return now - moment.getTime() < 6 * DAY_MS ? weekday.format(moment) : date.format(moment);
}

export function lastSeen(time: string | null): string {
  return time ? `last seen ${shortTime(time)}` : "offline";
}

export function nameOf(chat: ChatState, userId: string | null, meId: string): string {
  if (userId === meId) return "You";
  return chat.members.find((member) => member.userId === userId)?.user.username ?? "Somebody";
}

/** One line for the list of chats. */
export function preview(message: Message, chat: ChatState, meId: string): string {
  if (message.deletedAt) return "Message deleted";
  if (message.unreadable) return "Message cannot be read";
  if (message.type === "system") return systemLine(message, chat, meId);
  return message.content || message.attachment?.name || (message.type === "image" ? "Picture" : "File");
}

export function systemLine({ system, senderId }: Message, chat: ChatState, meId: string): string {
  const who = nameOf(chat, senderId, meId);
  const about = nameOf(chat, system?.userId ?? null, meId);
  switch (system?.action) {
    case "created":
      return `${who} created the group`;
    case "renamed":
      return `${who} named the group “${system.title}”`;
    case "added":
      return `${who} added ${about}`;
    case "removed":
      return `${who} removed ${about}`;
    case "left":
      return `${about} left`;
    case "role":
      return `${who} made ${about} ${system.role}`;
    default:
      return "";
  }
}

export function fileSize(bytes: number): string {
  const units = ["bytes", "KB", "MB"];
  let size = bytes;
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit++;
  }
  return `${unit ? size.toFixed(1) : size} ${units[unit]}`;
}

const BROWSERS = [
  ["Edg/", "Edge"],
  ["OPR/", "Opera"],
  ["Firefox/", "Firefox"],
  ["Chrome/", "Chrome"],
  ["Safari/", "Safari"],
] as const;
const SYSTEMS = [
  ["Android", "Android"],
  ["iPhone", "iPhone"],
  ["iPad", "iPad"],
  ["Windows", "Windows"],
  ["Mac OS X", "macOS"],
  ["CrOS", "ChromeOS"],
  ["Linux", "Linux"],
] as const;

/** A device as people call it; whatever is no known browser keeps its own words. */
export function deviceName(userAgent: string): string {
  const browser = BROWSERS.find(([sign]) => userAgent.includes(sign))?.[1];
  const system = SYSTEMS.find(([sign]) => userAgent.includes(sign))?.[1];
  if (!browser) return userAgent || "Unknown device";
  return system ? `${browser} on ${system}` : browser;
}

const LINK = /https?:\/\/[^\s<>"']*[^\s<>"'.,;:!?)\]]/g;

/** Splits a text into plain parts and links, in their order. */
export function linkParts(text: string): { text: string; href?: string }[] {
  const parts: { text: string; href?: string }[] = [];
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    if (match.index > end) parts.push({ text: text.slice(end, match.index) });
    parts.push({ text: match[0], href: match[0] });
    end = match.index + match[0].length;
  }
  if (end < text.length) parts.push({ text: text.slice(end) });
  return parts;
}
