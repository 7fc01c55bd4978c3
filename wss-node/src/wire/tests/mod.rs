#![allow(clippy::unwrap_used)]

mod broadcasts;
mod checks;
mod codes;
mod deltas;
mod form;
mod fossils;
mod frames;
mod generate;
mod round_trips;
