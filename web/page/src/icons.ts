// The page's pictograms, drawn in a 24×24 field.

const PATHS = {
  tower: "M5 2h3v3h2.500V2h3v3H16V2h3v6l-2 2v10h2v2H5v-2h2V10L5 8zm5.500 12v6h3v-6a1.500 1.500 0 0 0-3 0z",
  microphone:
    "M12 2a3.500 3.500 0 0 1 3.500 3.500v6a3.500 3.500 0 0 1-7 0v-6A3.500 3.500 0 0 1 12 2zm-7 9h2a5 5 0 0 0 10 0h2a7 7 0 0 1-6 6.900V21h-2v-3.100A7 7 0 0 1 5 11z",
  microphoneOff:
    "M3.700 2.300 21.700 20.300 20.300 21.700 15.800 17.200A7 7 0 0 1 13 17.900V21h-2v-3.100A7 7 0 0 1 5 11h2a5 5 0 0 0 7.300 4.500l-1.600-1.600A3.500 3.500 0 0 1 8.500 11.500V9.700L2.300 3.700zM12 2a3.500 3.500 0 0 1 3.500 3.500v6l-.1.800L8.600 5.400A3.500 3.500 0 0 1 12 2zm5 9h2a7 7 0 0 1-.9 3.500l-1.500-1.500A5 5 0 0 0 17 11z",
  camera: "M4 6h10a2 2 0 0 1 2 2v2.200L21 7v10l-5-3.200V16a2 2 0 0 1-2 2H4a2 2 0 0 1-2-2V8a2 2 0 0 1 2-2z",
  cameraOff:
    "M3.700 2.300 21.700 20.300 20.300 21.700 16.500 17.900 14 18H4a2 2 0 0 1-2-2V8c0-.9.600-1.700 1.500-1.900L2.300 3.700zM9 6h5a2 2 0 0 1 2 2v2.200L21 7v10l-2.200-1.400z",
  share: "M4 4h16a2 2 0 0 1 2 2v10a2 2 0 0 1-2 2h-6v2h3v2H7v-2h3v-2H4a2 2 0 0 1-2-2V6a2 2 0 0 1 2-2zm8 3-4 4h2.500v4h3v-4H16z",
  chat: "M4 3h16a2 2 0 0 1 2 2v11a2 2 0 0 1-2 2H9l-5 4v-4a2 2 0 0 1-2-2V5a2 2 0 0 1 2-2zm3 5v2h10V8zm0 4v2h7v-2z",
  leave:
    "M12 9c4.500 0 8.500 1.500 10.500 3.500.5.500.5 1.200.1 1.800l-1.800 2.200c-.4.500-1 .6-1.600.4l-3-1.400a1.300 1.300 0 0 1-.7-1.300l.2-2a14 14 0 0 0-7.400 0l.2 2c0 .6-.2 1.100-.7 1.300l-3 1.400c-.6.200-1.200.1-1.600-.4l-1.800-2.200c-.4-.6-.4-1.300.1-1.800C3.500 10.500 7.500 9 12 9z",
  people:
    "M9 11a4 4 0 1 1 0-8 4 4 0 0 1 0 8zm0 2c4 0 7 2 7 5v2H2v-2c0-3 3-5 7-5zm7.500-2.200a4 4 0 0 0 0-7.600 6 6 0 0 1 0 7.600zM18 20h4v-2c0-2.200-1.600-3.900-4.200-4.600A6 6 0 0 1 18 18z",
  link: "M10.600 13.400a1 1 0 0 0 1.400 0l4.300-4.300a2 2 0 1 0-2.900-2.900l-1.500 1.600-1.400-1.500 1.500-1.500a4 4 0 1 1 5.700 5.700L13.400 14.800a3 3 0 0 1-4.300 0zm2.800-2.800a1 1 0 0 0-1.400 0L7.700 14.900a2 2 0 1 0 2.900 2.900l1.500-1.600 1.400 1.500-1.500 1.500a4 4 0 1 1-5.700-5.700L10.600 9.200a3 3 0 0 1 4.300 0z",
  send: "M3 3.500 22 12 3 20.500 5.500 13H14v-2H5.500z",
  remove:
    "M18.300 7.100 13.400 12l4.900 4.900-1.400 1.400-4.900-4.900-4.900 4.900-1.400-1.400 4.900-4.900-4.900-4.900 1.400-1.400 4.900 4.900 4.900-4.900z",
};

export type IconName = keyof typeof PATHS;

const SVG = "http://www.w3.org/2000/svg";

/** A pictogram in the colour of the text; what it means is said by the control that holds it. */
export function icon(name: IconName): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("icon");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  path.setAttribute("fill", "currentColor");
  svg.append(path);
  return svg;
}
