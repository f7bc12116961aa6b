// <browser-phone>: the page's buttons and words, around a line (line.js), this machine's sound (desk.js) and a clock.

import { Desk, devices, inWords, whyNot } from "./desk.js";
import "./latency.js";
import { shown } from "./levels.js";
import { Line, Trouble } from "./line.js";
import { SampleCaller } from "./sample_caller.js";
import "./transcript.js";
import { TurnClock } from "./turn_clock.js";

const COST_EVERY_MS = 3000;
const AUDIBLE = 0.004;
const LINGERS_S = 0.4;
const FREE = "nothing is charged";

const STATES = {
  idle: "Ready to call",
  asking: "Your browser asks for the microphone",
  ringing: "Ringing",
  connected: "Connected",
  again: "Connection lost, trying again",
  ending: "Hanging up",
  ended: "Call ended",
};

class BrowserPhone extends HTMLElement {
  #line = null;
  #desk = null;
  #clock = null;
  #sample = null;
  #state = "idle";
  #began = 0;
  #voiceAt = -Infinity;
  #agentAt = -Infinity;
  #timers = [];
  #keepsFocus = false;
  #isSignedOut = false;
  #sid = "";

  connectedCallback() {
    const on = (id, type, act) => this.#at(id).addEventListener(type, act);
    on("call", "click", () => this.#call("microphone"));
    on("sample", "click", () => this.#call("sample"));
    on("hangup", "click", () => this.#hangUp());
    on("mute", "click", () => this.#mute());
    on("type", "submit", (event) => this.#type(event));
    on("keypad", "click", (event) => this.#press(event.target.closest("[data-key]")?.dataset.key));
    on("microphone", "change", () => this.#changeMicrophone());
    on("speaker", "change", () => this.#desk?.useSpeaker(this.#at("speaker").value).catch(() => this.#say("This speaker cannot be used.")));
    this.addEventListener("keydown", (event) => this.#key(event));
    this.#at("transcript").addEventListener("broken", () => this.#askSoFar());
    document.addEventListener("visibilitychange", () => this.#isSignedOut && !document.hidden && this.#askSoFar(true));
    addEventListener("focus", () => this.#isSignedOut && this.#askSoFar(true)); // another window covers none
    addEventListener("pagehide", () => this.#line?.leave());
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this.#listDevices());
    this.#listDevices();
    const why = whyNot();
    if (why) {
      this.#say(why);
      this.#at("call").disabled = this.#at("sample").disabled = this.#at("before").hidden = true;
    }
    this.dataset.ready = "";
  }

  #at(id) {
    return document.getElementById(id);
  }

  // ------------------------------------------------------------------ a call

  async #call(voice) {
    this.#say("");
    this.#isSignedOut = false;
    this.#sid = "";
    this.#at("over").hidden = true;
    this.#at("clock").textContent = "0:00";
    this.#at("cost").textContent = this.#isFree ? FREE : "estimated $0.00";
    this.#at("latency").clear();
    this.#clock = new TurnClock();
    try {
      this.#enter(voice === "sample" ? "ringing" : "asking");
      this.#desk = await Desk.open(this.dataset.worklet, (frame) => this.#heard(frame), (level) => this.#played(level), (mark) => this.#line?.reached(mark));
      await this.#desk.useSpeaker(this.#at("speaker").value);
      if (voice === "microphone") {
        await this.#listen();
      }
      this.#enter("ringing");
      await this.#begin();
    } catch (error) {
      this.#say(error instanceof Trouble ? error.message : "The server cannot be reached, or the sound of this machine cannot be used.");
      this.#end();
      this.#enter("idle");
      return;
    }
    const sentences = this.dataset.voices.split(" ");
    this.#sample = voice === "sample" ? new SampleCaller(sentences, (url) => this.#desk.speak(url)) : null;
  }

  // Without a microphone the call goes on: there is a keyboard.
  async #listen() {
    try {
      await this.#desk.listen(this.#at("microphone").value);
    } catch (error) {
      this.#say(inWords(error));
    }
    this.#listDevices();
  }

  async #begin() {
    const line = (this.#line = new Line(this.dataset.calls));
    const on = (name, act) => line.addEventListener(name, ({ detail }) => act(detail));
    on("open", () => this.#opened());
    on("audio", (audio) => this.#desk?.play(audio));
    on("mark", (name) => this.#desk?.mark(name));
    on("clear", () => this.#cleared());
    on("broken", () => this.#state === "connected" && this.#enter("again"));
    on("end", (next) => this.#ended(next));
    const call = await line.begin(this.#at("called")?.value ?? "");
    this.#sid = call.call_sid;
    this.#at("call-page").href = call.call_url;
    const reader = new URL(this.dataset.reader, location.href);
    reader.protocol = reader.protocol.replace("http", "ws");
    this.#at("transcript").open(reader, call.call_sid);
  }

  #opened() {
    if (this.#state !== "again") {
      this.#began = performance.now();
      this.#timers = [setInterval(() => this.#tick(), 250), setInterval(() => this.#askSoFar(), COST_EVERY_MS)];
    }
    this.#enter("connected");
  }

  #hangUp() {
    this.#enter("ending");
    this.#line?.hangUp();
  }

  async #ended(next) {
    await this.#askSoFar();
    this.#at("why").textContent = next.words;
    if (this.#isSignedOut) {
      this.#askToSignIn("You are signed out here:");
    }
    this.#at("over").hidden = false;
    this.#end();
    this.#enter("ended");
    this.#at("call-page").focus({ preventScroll: true });
  }

  #end() {
    this.#timers.forEach(clearInterval);
    this.#timers = [];
    this.#desk?.close();
    this.#desk = this.#line = this.#sample = null;
    this.#at("caller-level").rest();
    this.#at("agent-level").rest();
    this.#showMuted(false);
  }

  // ------------------------------------------------------------------ sound

  #heard({ frame, level, at }) {
    this.#line?.media(frame);
    this.#at("caller-level").show(level);
    if (this.#clock.caller(level, at)) {
      this.#voiceAt = at;
    }
  }

  #played({ level, at }) {
    this.#at("agent-level").show(level);
    this.#at("ring").style.setProperty("--level", shown(level).toFixed(3));
    if (level >= AUDIBLE) {
      this.#agentAt = at;
    }
    const wait = this.#clock.agent(level, at);
    if (wait !== null) {
      this.#at("latency").add(wait + this.#desk.delay);
    }
    if (this.#state === "connected") { // what is said into a broken line is lost
      this.#sample?.hears(level, at);
    }
    this.#showWho(at);
  }

  // What was sent ahead is not played any more: the caller interrupted.
  #cleared() {
    this.#desk?.clear();
    this.#clock.cleared(this.#desk?.context.currentTime ?? 0);
    if (this.#desk && this.#desk.context.currentTime - this.#agentAt < LINGERS_S) {
      this.#at("transcript").note("interrupted: the agent stops");
    }
  }

  #showWho(at) {
    if (this.#state !== "connected") {
      return;
    }
    const who = at - this.#voiceAt < LINGERS_S ? "you" : at - this.#agentAt < LINGERS_S ? "agent" : "listening";
    if (this.#at("ring").dataset.state !== who) {
      this.#at("ring").dataset.state = who;
      this.#at("who").textContent = { you: "You speak.", agent: "The agent speaks.", listening: "The agent listens." }[who];
    }
  }

  async #changeMicrophone() {
    if (this.#desk) {
      this.#say("");
      await this.#listen();
    }
  }

  #mute() {
    const muted = this.#at("mute").getAttribute("aria-pressed") !== "true";
    this.#showMuted(muted);
    this.#desk?.mute(muted);
  }

  #showMuted(muted) {
    this.#at("mute").setAttribute("aria-pressed", String(muted));
    this.#at("mute").textContent = muted ? "Muted" : "Mute";
  }

  // ------------------------------------------------------------------ keys and words

  #press(key) {
    if (key && this.#line?.isOpen) {
      this.#desk.beep(key);
      this.#line.press(key);
      this.#clock.wrote(this.#desk.context.currentTime);
    }
  }

  // Only while the phone has the focus, and nothing is being written or chosen in it.
  #key(event) {
    const isText = event.target.closest("input, select, textarea");
    if (isText || event.ctrlKey || event.metaKey || event.altKey || !/^[0-9*#]$/.test(event.key)) {
      return;
    }
    event.preventDefault();
    this.#press(event.key);
    this.querySelector(`[data-key="${event.key}"]`)?.focus();
  }

  #type(event) {
    event.preventDefault();
    const text = this.#at("text").value.trim();
    if (text && this.#line?.isOpen) {
      this.#line.type(text);
      this.#clock.wrote(this.#desk.context.currentTime);
      this.#at("text").value = "";
    }
  }

  // ------------------------------------------------------------------ what is shown

  #enter(state) {
    this.#state = state;
    const isCall = ["asking", "ringing", "connected", "again", "ending"].includes(state);
    const isOpen = state === "connected";
    this.#at("state").textContent = STATES[state];
    this.#at("who").textContent = { idle: "Nobody is on the line.", connected: "The agent listens." }[state] ?? "";
    this.#at("ring").dataset.state = isOpen ? "listening" : state;
    this.#keepsFocus ||= this.contains(document.activeElement) && document.activeElement.closest(".controls") !== null;
    this.#at("call").hidden = this.#at("sample").hidden = isCall;
    this.#at("hangup").hidden = this.#at("mute").hidden = !isCall;
    this.#at("hangup").disabled = ["asking", "ending"].includes(state);
    this.#at("mute").disabled = !isOpen;
    this.#at("before").hidden = isCall;
    this.#at("facts").hidden = state === "idle";
    this.#at("call").textContent = state === "ended" ? "Call again" : "Call";
    for (const each of this.querySelectorAll("#keypad button, #type input, #type button")) {
      each.disabled = !isOpen;
    }
    const next = this.#at(isCall ? "hangup" : "call");
    if (this.#keepsFocus && !next.disabled) { // what is disabled cannot take it: then as soon as it can
      this.#keepsFocus = false;
      if (document.activeElement === document.body || document.activeElement.closest(".controls")) {
        next.focus();
      }
    }
    this.dataset.state = state;
  }

  #say(trouble) {
    const place = this.#at("troubles");
    place.replaceChildren();
    if (trouble) {
      const notice = document.createElement("p");
      notice.className = "notice warn";
      notice.textContent = trouble;
      place.append(notice);
    }
  }

  #tick() {
    const seconds = Math.floor((performance.now() - this.#began) / 1000);
    this.#at("clock").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  }

  get #isFree() {
    return "free" in this.dataset;
  }

  // What it has cost, and whether we may still ask: the operator may sign out in another tab.
  async #askSoFar(again = false) {
    const sid = this.#sid;
    if (!sid || (this.#isSignedOut && !again)) {
      return;
    }
    try {
      const answer = await fetch(`${this.dataset.calls}/${sid}`, { headers: { Accept: "application/json" } });
      if (answer.status === 401 || answer.status === 403) {
        this.#signedOut();
      } else if (answer.ok) {
        this.#signedIn();
        const told = await answer.json();
        this.#at("cost").textContent = this.#isFree ? FREE : `estimated $${told.cost_usd.toFixed(4)}`;
      }
    } catch {
      // the next time, perhaps
    }
  }

  // The call has its own right to go on; its words, and what it costs, are for who is signed in.
  #signedOut() {
    if (!this.#isSignedOut) {
      this.#isSignedOut = true;
      this.#at("transcript").pause();
      this.#askToSignIn("You are signed out here. The call goes on, but what is said is not shown any more:");
    }
  }

  #askToSignIn(why) {
    const link = document.createElement("a");
    Object.assign(link, { href: this.dataset.login, target: "_blank", rel: "noopener", textContent: "sign in again in a new tab" });
    this.#say(`${why} `);
    this.#at("troubles").firstChild.append(link, ", then come back to this one.");
  }

  #signedIn() {
    if (this.#isSignedOut) {
      this.#isSignedOut = false;
      this.#say("");
      this.#at("transcript").goOn();
    }
  }

  async #listDevices() {
    const { microphones, speakers } = await devices();
    choices(this.#at("microphone"), microphones);
    choices(this.#at("speaker"), "setSinkId" in AudioContext.prototype ? speakers : []);
  }
}

function choices(select, known) {
  const chosen = select.value;
  select.replaceChildren(new Option("The system's", ""), ...known.map(({ id, name }) => new Option(name, id)));
  select.value = known.some(({ id }) => id === chosen) ? chosen : "";
}

customElements.define("browser-phone", BrowserPhone);
