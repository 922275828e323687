// Which catalogue is searched: the address says it, else the page remembers, else the demo if it has products.
import { Api } from "./api.js";
import { element, memory } from "./elements.js";

const OFFERED = ["default", "demo"];
const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/;

const named = (words) => (words && NAME.test(words) ? words : null);

/** The tenant that an address names, or null. */
export const tenantIn = (address) => named(new URL(address).searchParams.get("tenant"));

export const rememberTenant = (name) => memory.set("tenant", name);

/** The tenant to begin with. */
export async function firstTenant() {
  const known = tenantIn(location.href) ?? named(memory.get("tenant"));
  if (known) return known;
  const demo = await new Api("demo").newest(1).catch(() => ({ products: [] }));
  return demo.products?.length ? "demo" : "default";
}

/** Draws the switch; `changed(tenant)` is called when another one is chosen, which is then remembered. */
export function drawTenants(container, current, changed) {
  const offered = container.querySelector(`[value="${current}"]`);
  if (offered) return void (offered.checked = true);
  const names = OFFERED.includes(current) ? OFFERED : [current, ...OFFERED];
  const choose = (name) => {
    rememberTenant(name);
    changed(name);
  };
  const segments = names.map((name) => {
    const input = element("input", { type: "radio", name: "tenant", value: name, checked: name === current, onchange: () => choose(name) });
    return element("label", { className: "segment" }, input, element("span", {}, name));
  });
  return container.replaceChildren(...segments);
}
