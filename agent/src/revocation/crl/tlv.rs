//! The least of a DER reader: tag, length, value, one after the other without copying. A CRL may have a million
//! entries; parsers that build a value for each would need many times its size in memory.

/// Not DER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotDer;

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
/// `[0] EXPLICIT`
pub(super) const CONTEXT_0: u8 = 0xa0;

/// One value with its tag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tlv<'a> {
    pub(super) tag: u8,
    pub(super) value: &'a [u8],
    /// Tag, length and value.
    pub(super) whole: &'a [u8],
}

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tlvs<'a>(pub(super) &'a [u8]);

impl<'a> Tlvs<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tag of what comes next.
    pub(super) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next value: definite lengths of up to four bytes in their shortest form, tags of one byte.
    pub(super) fn next(&mut self) -> Result<Tlv<'a>, NotDer> {
        let all = self.0;
        let (&tag, rest) = all.split_first().ok_or(NotDer)?;
        let (&first, rest) = rest.split_first().ok_or(NotDer)?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let bytes = usize::from(first - 0x80);
            if bytes > 4 {
                return Err(NotDer);
            }
            let (digits, rest) = rest.split_at_checked(bytes).ok_or(NotDer)?;
            let length = digits.iter().fold(0_usize, |length, digit| length << 8 | usize::from(*digit));
            // Too long a form, or no length at all (the indefinite form of BER).
            if length < 0x80 || digits.first() == Some(&0) {
                return Err(NotDer);
            }
            (length, rest)
        };
        if tag & 0x1f == 0x1f {
            return Err(NotDer);
        }
        let (value, rest) = rest.split_at_checked(length).ok_or(NotDer)?;
        self.0 = rest;
        Ok(Tlv { tag, value, whole: &all[..all.len() - rest.len()] })
    }

    /// The next value, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Result<Tlv<'a>, NotDer> {
        self.next().and_then(|tlv| if tlv.tag == tag { Ok(tlv) } else { Err(NotDer) })
    }

    /// The next value if it has this tag.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<Tlv<'a>>, NotDer> {
        if self.peek() == Some(tag) { self.next().map(Some) } else { Ok(None) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_in_their_shortest_form_only() {
        let mut long = vec![SEQUENCE, 0x82, 0x01, 0x00];
        long.extend([7; 256]);
        let mut tlvs = Tlvs(&long);
        let tlv = tlvs.next().unwrap();
        assert_eq!((tlv.tag, tlv.value.len(), tlv.whole.len()), (SEQUENCE, 256, 260));
        assert!(tlvs.is_empty());
        for bad in [
            &[][..],
            &[0x30],
            &[0x30, 0x80],
            &[0x30, 0x81, 0x05, 1, 2, 3, 4, 5],
            &[0x30, 0x82, 0x00, 0x85],
            &[0x30, 0x05, 1, 2],
            &[0x30, 0x85, 1, 1, 1, 1, 1],
            &[0x3f, 0x00],
        ] {
            assert!(Tlvs(bad).next().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let mut tlvs = Tlvs(&bytes);
            let mut read = 0;
            while let Ok(tlv) = tlvs.next() {
                read += tlv.whole.len();
            }
            prop_assert_eq!(read + tlvs.0.len(), bytes.len());
        }
    }
}
