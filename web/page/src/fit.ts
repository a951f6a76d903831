// How a picture fills its tile. In: both sizes. Out: cut to the tile, or shown whole. Pure.

import type { Size } from "./layout.ts";

/** A wide picture has room at its sides: a person in the middle of it survives a cut to the tallest of telephones. */
const WIDE_KEPT_MIN = 0.25;
/** An upright picture is a face from edge to edge. */
const UPRIGHT_KEPT_MIN = 0.6;

export function fit(picture: Size, tile: Size): "cover" | "contain" {
  if (picture.width <= 0 || picture.height <= 0 || tile.width <= 0 || tile.height <= 0) return "cover";
  const shapes = [picture.width / picture.height, tile.width / tile.height] as const;
  const kept = Math.min(...shapes) / Math.max(...shapes);
  const isCutAtTheSides = shapes[0] > shapes[1];
  return kept >= (isCutAtTheSides ? WIDE_KEPT_MIN : UPRIGHT_KEPT_MIN) ? "cover" : "contain";
}
