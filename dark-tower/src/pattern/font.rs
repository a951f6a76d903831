//! Digits of three by five squares, that a person can read from across a room.

use super::canvas::{Area, Colour, Picture};

/// Squares from one sign to the next.
pub(super) const ADVANCE: usize = 4;
/// Squares from top to bottom.
pub(super) const HEIGHT: usize = 5;

/// Five rows of three bits, the left one first.
const fn sign(sign: char) -> [u8; HEIGHT] {
    match sign {
        '0' => [0b111, 0b101, 0b101, 0b101, 0b111],
        '1' => [0b010, 0b110, 0b010, 0b010, 0b111],
        '2' => [0b111, 0b001, 0b111, 0b100, 0b111],
        '3' => [0b111, 0b001, 0b111, 0b001, 0b111],
        '4' => [0b101, 0b101, 0b111, 0b001, 0b001],
        '5' => [0b111, 0b100, 0b111, 0b001, 0b111],
        '6' => [0b111, 0b100, 0b111, 0b101, 0b111],
        '7' => [0b111, 0b001, 0b001, 0b010, 0b010],
        '8' => [0b111, 0b101, 0b111, 0b101, 0b111],
        '9' => [0b111, 0b101, 0b111, 0b001, 0b111],
        ':' => [0b000, 0b010, 0b000, 0b010, 0b000],
        '.' => [0b000, 0b000, 0b000, 0b000, 0b010],
        _ => [0; HEIGHT],
    }
}

/// Writes `text` (digits, colons and points; anything else is a space) with its upper left corner at `x`, `y`, in squares of `square` pixels.
pub(super) fn write(picture: &mut Picture, (x, y): (usize, usize), square: usize, text: &str, colour: Colour) {
    for (place, character) in text.chars().enumerate() {
        for (row, bits) in sign(character).into_iter().enumerate() {
            for column in (0..3).filter(|column| bits >> (2 - column) & 1 == 1) {
                let area = Area { x: x + (place * ADVANCE + column) * square, y: y + row * square, width: square, height: square };
                picture.fill(area, colour);
            }
        }
    }
}
