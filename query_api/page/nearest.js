// What is nearest where nothing is alike enough: in a place of its own, so that nobody takes it for a match.
import { announce } from "./announce.js";
import { byId } from "./elements.js";
import { Grid } from "./grid.js";

const SHOWN_MAX = 8;

export class Nearest {
  constructor(handlers) {
    this.grid = new Grid(byId("nearest-grid"), handlers);
  }

  show(results) {
    const shown = results.slice(0, SHOWN_MAX);
    byId("nearest").hidden = shown.length === 0;
    this.grid.show(shown);
    if (!shown.length) return;
    byId("nearest-note").textContent = `Too unlike to be called a match: the best has a similarity of ${shown[0].similarity.toFixed(2)}.`;
    announce(`No products match. The ${shown.length} nearest all the same are below`);
  }

  hide() {
    byId("nearest").hidden = true;
  }
}
