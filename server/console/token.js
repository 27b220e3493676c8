// The token that the server wants of its callers, if it does: asks the person for one, and keeps it
// for as long as the tab is open.
import {byId, showText} from "./dom.js";

const KEY = "whipsnake-token";

// The headers that show a request's token, if there is one.
export function authorization() {
  const token = sessionStorage.getItem(KEY);
  return token ? {Authorization: `Bearer ${token}`} : {};
}

// Asks for a token, or another one. `message` is what the server said of the one that it got.
export function askForToken(message) {
  const form = byId("token-form");
  showText(byId("token-error"), sessionStorage.getItem(KEY) ? message : "");
  if (!form.hidden) return;
  form.hidden = false;
  byId("token").focus();
}

// The server took the token.
export function tokenAccepted() {
  byId("token-form").hidden = true;
}

// `onToken` is called once the person has given a token.
export function startTokens(onToken) {
  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY, byId("token").value.trim());
    byId("token").value = "";
    onToken();
  });
}
