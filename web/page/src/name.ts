// Which names are accepted: the rule of the servers (common_core::name), so that nobody is sent back for what could be said at once.
// In: what was typed. Out: the name, or what is wrong with it. Pure.

import { NAME_CHARACTERS_MAX } from "@dark-tower/client";

/** Why a name is refused. */
export type NameFault = "empty" | "too-long" | "control" | "direction";

/** A name as it is sent, or why it is none. */
export type CheckedName = { name: string; fault?: undefined } | { name?: undefined; fault: NameFault };

/** As Unicode says, and as the servers trim; JavaScript's own `trim` differs in two characters. */
const ENDS = /^\p{White_Space}+|\p{White_Space}+$/gu;
/** Controls, breaks of lines and paragraphs, and halves of a pair, which no UTF-8 carries. */
const CONTROL = /[\p{Cc}\u{2028}\u{2029}\p{Cs}]/u;
/** Embeddings, overrides and isolates (Unicode Standard Annex 9, section 2): they turn another's name as well. */
const DIRECTION = /[\u{202a}-\u{202e}\u{2066}-\u{2069}]/u;
/** Without width, or blank though it counts as a letter or symbol. */
const INVISIBLE_ONLY = new RegExp(
  "^[\\p{White_Space}\\u{ad}\\u{34f}\\u{61c}\\u{115f}-\\u{1160}\\u{17b4}-\\u{17b5}\\u{180b}-\\u{180f}\\u{200b}-\\u{200f}\\u{2060}-\\u{206f}" +
    "\\u{2800}\\u{3164}\\u{fe00}-\\u{fe0f}\\u{feff}\\u{ffa0}\\u{fff0}-\\u{fffb}\\u{1bca0}-\\u{1bca3}\\u{1d173}-\\u{1d17a}\\u{e0000}-\\u{e0fff}]*$",
  "u",
);

/** The name without white space at its ends, if others can read it. */
export function checkName(text: string): CheckedName {
  const name = text.replace(ENDS, "");
  // Characters as the servers count them: an emoji of two halves is one.
  if (Array.from(name).length > NAME_CHARACTERS_MAX) return { fault: "too-long" };
  if (CONTROL.test(name)) return { fault: "control" };
  if (DIRECTION.test(name)) return { fault: "direction" };
  return INVISIBLE_ONLY.test(name) ? { fault: "empty" } : { name };
}

/** What people read beside the field. */
export function nameWords(fault: NameFault): string {
  switch (fault) {
    case "empty":
      return "Type a name that others can see.";
    case "too-long":
      return `This name is too long: at most ${NAME_CHARACTERS_MAX} characters.`;
    case "control":
      return "This name has characters that are no text. Type it by hand instead of pasting it.";
    case "direction":
      return "This name has hidden characters that turn the text around it. Type it by hand instead of pasting it.";
  }
}

/** "Ana's meeting", no longer than a name may be. */
export function meetingNameOf(person: string): string {
  const SUFFIX = "'s meeting";
  if (person === "") return "Meeting";
  return `${Array.from(person)
    .slice(0, NAME_CHARACTERS_MAX - SUFFIX.length)
    .join("")}${SUFFIX}`;
}
