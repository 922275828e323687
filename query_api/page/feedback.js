// What a shopper does leaves as feedback, tied to the search that showed the product.

/** An opaque name for this visit, so that one shopper's reads never go back in time. */
export const session = keptSession() ?? newSession();

function keptSession() {
  try {
    return sessionStorage.getItem("freshlens.session");
  } catch {
    return null;
  }
}

function newSession() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  const name = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  try {
    sessionStorage.setItem("freshlens.session", name);
  } catch {
    // With storage refused, a reload is another session.
  }
  return name;
}

/** Sends one act; a product that no search showed (the newest list) has no query to learn about, so nothing leaves. */
export async function sendFeedback(api, queryId, result, kind) {
  if (!queryId) return false;
  const event = { query_id: queryId, product_id: result.product_id, position: result.position, kind, session };
  try {
    await api.feedback(event);
    return true;
  } catch {
    return false; // A lost click must never disturb the shopper; the server counts what it refuses.
  }
}
