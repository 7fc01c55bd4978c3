//! What is remembered of tokens that a server was asked about. Pure: the time is an argument.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;

use super::Grant;
use super::fault::TokenFault;

/// SHA-256 of a token: the token itself is not kept.
pub(super) type Digest = [u8; 32];

/// Answers by token, bounded: the oldest makes room.
#[derive(Debug)]
pub(super) struct Answers {
    capacity: usize,
    by_token: HashMap<Digest, (u64, Answer)>,
    /// In the order of their coming; those that were overwritten are still in it.
    order: VecDeque<(u64, Digest)>,
    next: u64,
}

#[derive(Debug)]
struct Answer {
    said: Result<Grant, TokenFault>,
    until: Timestamp,
}

impl Answers {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, by_token: HashMap::new(), order: VecDeque::new(), next: 0 }
    }

    /// What was said of a token, while that is good.
    pub(super) fn recall(&self, token: &Digest, now: Timestamp) -> Option<Result<Grant, TokenFault>> {
        let (_, answer) = self.by_token.get(token)?;
        (answer.until > now).then(|| answer.said.clone())
    }

    /// Remembers it until a time.
    pub(super) fn remember(&mut self, token: Digest, said: Result<Grant, TokenFault>, until: Timestamp) {
        let number = self.next;
        self.next += 1;
        self.by_token.insert(token, (number, Answer { said, until }));
        self.order.push_back((number, token));
        while self.order.len() > self.capacity {
            let Some((number, token)) = self.order.pop_front() else { return };
            if self.by_token.get(&token).is_some_and(|(current, _)| *current == number) {
                self.by_token.remove(&token);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_answer_is_good_until_its_end() {
        let mut answers = Answers::new(2);
        answers.remember([1; 32], Ok(Grant::anonymous()), at(10));
        assert_eq!(answers.recall(&[1; 32], at(9)), Some(Ok(Grant::anonymous())));
        assert_eq!(answers.recall(&[1; 32], at(10)), None);
        assert_eq!(answers.recall(&[2; 32], at(9)), None);
        answers.remember([1; 32], Err(TokenFault::Inactive), at(20));
        assert_eq!(answers.recall(&[1; 32], at(12)), Some(Err(TokenFault::Inactive)));
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut answers = Answers::new(3);
        for token in 0..100 {
            answers.remember([token; 32], Err(TokenFault::Inactive), at(10));
            // Said again and again, one does not push out the others twice.
            answers.remember([token; 32], Err(TokenFault::Inactive), at(10));
            assert!(answers.recall(&[token; 32], at(0)).is_some());
            assert!(answers.by_token.len() <= 3 && answers.order.len() <= 3);
        }
        assert!(answers.recall(&[90; 32], at(0)).is_none());
    }
}
