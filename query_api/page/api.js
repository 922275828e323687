// The HTTP API as the page uses it. One Api object speaks for one tenant.
import { fetchWithKey } from "./key.js";

/** A refused or failed request: `code` is the problem's stable code, `status` is 0 when nothing answered. */
export class ApiError extends Error {
  constructor(message, { code, status }) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

const RETRY_AFTER_MS = [250, 750];

async function problemOf(response) {
  const problem = await response.json().catch(() => ({}));
  const message = problem.detail ?? problem.message ?? problem.title ?? `The server answered ${response.status}.`;
  return new ApiError(message, { code: problem.code ?? `http-${response.status}`, status: response.status });
}

async function answerOf(request) {
  let response;
  try {
    response = await request;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server does not answer. Is it running?", { code: "unreachable", status: 0 });
  }
  if (!response.ok) throw await problemOf(response);
  return response.json().catch(() => ({}));
}

export class Api {
  constructor(tenant) {
    this.tenant = tenant;
  }

  /** The address of a route for this tenant. */
  address(path, parameters = {}) {
    const url = new URL(path, location.origin);
    if (this.tenant !== "default") url.searchParams.set("tenant", this.tenant);
    for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
    return url;
  }

  get(path, parameters) {
    return answerOf(fetchWithKey(this.address(path, parameters)));
  }

  post(path, body, { parameters, ...options } = {}) {
    const headers = { "Content-Type": "application/json" };
    return answerOf(fetchWithKey(this.address(path, parameters), { method: "POST", headers, body: JSON.stringify(body), ...options }));
  }

  /** A search is tried again when the server says that it cannot answer just now. */
  async search(body, signal) {
    for (const pause of RETRY_AFTER_MS) {
      try {
        return await this.post("/v1/search", body, { signal });
      } catch (error) {
        if (error.status !== 503) throw error;
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    }
    return this.post("/v1/search", body, { signal });
  }

  /** Products, newest first; same shape as search results, without a query behind them. */
  newest(limit) {
    return this.get("/v1/products", { limit });
  }

  /** How often values of these fields occur among the products that pass; counts as no search. */
  async facets(names, filter) {
    const { facets = {} } = await this.get("/v1/products", { limit: 1, facets: names.join(","), ...(filter ? { filter: JSON.stringify(filter) } : {}) });
    return facets;
  }

  /** One product as it can be found now, with its views. */
  product(productId) {
    return this.get(`/v1/products/${encodeURIComponent(productId)}`);
  }

  /** Where objects may be in a photo: frames as `crop` takes them, most striking first. */
  async regions(photo) {
    const { boxes = [] } = await this.post("/v1/regions", { image: { base64: photo.base64 } });
    return boxes;
  }

  /** `hot`: ahead of everything that is queued. */
  publish(product, { hot = false } = {}) {
    return this.post("/v1/products", product, hot ? { parameters: { hot } } : {});
  }

  remove(productId) {
    const url = this.address(`/v1/products/${encodeURIComponent(productId)}`);
    return answerOf(fetchWithKey(url, { method: "DELETE" }));
  }

  /** What a shopper did. `keepalive` lets it leave even when the page is being closed. */
  feedback(event) {
    return this.post("/v1/feedback", event, { keepalive: true });
  }

  status() {
    return this.get("/v1/status");
  }

  quality(windows) {
    return this.get("/v1/search-quality", { windows });
  }

  /** The address of a result's picture, or null: longest side 96, 256 or 512 pixels. */
  thumbnail(result, size) {
    if (!result.thumbnail) return null;
    const url = new URL(result.thumbnail, location.origin);
    if (this.tenant !== "default") url.searchParams.set("tenant", this.tenant);
    url.searchParams.set("size", size);
    return url.href;
  }
}
