// Asks for a page's parts every two seconds while somebody looks, and says when nobody answers.

const EVERY_MS = 2000;
const SLOWEST_MS = 10000;
const WITHIN_MS = 8000;

// `take(answer)` is given each answer, parsed; `notice` is the element that says that there was none. Ends when
// `take` gives back false.
export function poll(address, take, notice) {
  let pause = EVERY_MS;
  let timer = 0;
  const ask = async () => {
    clearTimeout(timer);
    if (document.hidden) {
      return;
    }
    let goesOn = true;
    try {
      const answer = await fetch(address(), {
        headers: { Accept: "application/json" }, signal: AbortSignal.timeout(WITHIN_MS),
      });
      if (answer.status === 401 || answer.status === 403 || answer.redirected) {
        location.reload(); // to sign in again
        return;
      }
      if (!answer.ok) {
        throw new Error(String(answer.status));
      }
      goesOn = (await take(await answer.json())) !== false;
      notice.hidden = true;
      pause = EVERY_MS;
    } catch {
      notice.textContent = "Disconnected, retrying. What you see may be old.";
      notice.hidden = false;
      pause = Math.min(pause * 1.5, SLOWEST_MS);
    }
    clearTimeout(timer);
    if (goesOn) {
      timer = setTimeout(ask, pause);
    }
  };
  document.addEventListener("visibilitychange", ask);
  addEventListener("online", ask);
  return ask();
}
