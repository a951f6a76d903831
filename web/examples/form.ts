// What every example asks first: where the API is, which meeting, and under which name. `?api=`, `?meeting=` and `?name=` fill the fields in.

import { createMeeting, DarkTowerError } from "@dark-tower/client";

export interface Answers {
  /** Origin of the global controller. */
  api: string;
  /** Short code or id. */
  meeting: string;
  name: string;
}

/** Where `dark-tower dev` listens unless it is told otherwise. */
const API_DEFAULT = "http://localhost:8080";

function field(form: HTMLFormElement, label: string, name: string, value: string): HTMLInputElement {
  const input = document.createElement("input");
  Object.assign(input, { name, value, required: name !== "meeting" });
  const row = document.createElement("label");
  row.append(`${label} `, input);
  form.append(row);
  return input;
}

/** Shows the form; `start` gets what was filled in, and what it throws is shown. Without a meeting, one is made. */
export function ask(who: string, start: (answers: Answers) => Promise<void>): void {
  const query = new URLSearchParams(location.search);
  const form = document.createElement("form");
  const api = field(form, "API", "api", query.get("api") ?? API_DEFAULT);
  const meeting = field(form, "Meeting code (empty: a new one)", "meeting", query.get("meeting") ?? "");
  const name = field(form, "Name", "name", query.get("name") ?? who);
  const button = document.createElement("button");
  button.textContent = "Start";
  form.append(button);
  const said = document.createElement("p");
  said.setAttribute("role", "status");
  document.body.append(form, said);

  const begin = async (): Promise<void> => {
    if (meeting.value === "") {
      const { meeting_url } = await createMeeting("An example", { origin: api.value });
      meeting.value = new URL(meeting_url).pathname.split("/").at(-1) ?? "";
    }
    await start({ api: api.value, meeting: meeting.value, name: name.value });
    said.textContent = `In the meeting ${meeting.value}`;
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    button.disabled = true;
    said.textContent = "Joining…";
    begin().catch((thrown: unknown) => {
      const { code, message } = DarkTowerError.from(thrown);
      said.textContent = `${code}: ${message}`;
      button.disabled = false;
    });
  });
}
