//! Where pieces of a text are that may be in another.

/// Bytes of a piece. A common part is found if it holds a whole piece, so from twice this less one for certain.
pub(super) const PIECE: usize = 8;

/// How many places of equal hash are looked at: bounds the time for texts that repeat themselves.
const LOOKS: usize = 8;

/// Spreads the bits of a piece (the odd number nearest to 2^64 over the golden ratio).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The pieces of a base, one after the other, by hash.
pub(super) struct Index<'a> {
    pieces: &'a [[u8; PIECE]],
    shift: u32,
    /// The latest piece of each hash, from 1; 0 is none.
    heads: Vec<u32>,
    /// The piece before it with the same hash.
    before: Vec<u32>,
}

impl<'a> Index<'a> {
    /// `base` is shorter than 2^32 pieces.
    pub(super) fn new(base: &'a [u8]) -> Self {
        let (pieces, _) = base.as_chunks::<PIECE>();
        let bits = (pieces.len() * 2).next_power_of_two().trailing_zeros().max(4);
        let mut index = Self {
            pieces,
            shift: u64::BITS - bits,
            heads: vec![0; 1 << bits],
            before: vec![0; pieces.len() + 1],
        };
        for (number, piece) in (1..).zip(pieces) {
            let slot = index.slot(piece);
            index.before[number as usize] = std::mem::replace(&mut index.heads[slot], number);
        }
        index
    }

    fn slot(&self, piece: &[u8; PIECE]) -> usize {
        (u64::from_le_bytes(*piece).wrapping_mul(SPREAD) >> self.shift) as usize
    }

    /// Offsets in the base where this piece stands, latest first, as far as they are looked for.
    pub(super) fn places<'b>(&'b self, piece: &'b [u8; PIECE]) -> impl Iterator<Item = usize> + 'b {
        let chain = std::iter::successors(Some(self.heads[self.slot(piece)]), |number| {
            Some(self.before[*number as usize])
        });
        chain
            .take_while(|number| *number != 0)
            .take(LOOKS)
            .map(|number| number as usize - 1)
            .filter(|at| self.pieces[*at] == *piece)
            .map(|at| at * PIECE)
    }
}
