//! What is wrong with a call, and what its answer may then be.

use sampled_softmax::abi::*;

use crate::common::STATUSES;

/// The faults of one call: a status, and a word that its message then has. In which order
/// they are looked for is nobody's business: any of them may be what the call answers.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    known: Vec<(ssl_status, &'static str)>,
    is_certain: bool,
}

impl Faults {
    /// The call must be refused, for this or another reason.
    pub fn must(&mut self, status: ssl_status, word: &'static str) {
        self.is_certain = true;
        self.known.push((status, word));
    }

    /// The call may be refused for this: the header leaves it open.
    pub fn may(&mut self, status: ssl_status, word: &'static str) {
        self.known.push((status, word));
    }

    pub fn must_if(&mut self, wrong: bool, status: ssl_status, word: &'static str) {
        if wrong {
            self.must(status, word);
        }
    }

    /// Adds others, which certainly are there but are not certainly found.
    pub fn may_all(&mut self, others: &Faults) {
        self.known.extend(&others.known);
    }

    pub fn must_all(&mut self, others: &Faults) {
        self.is_certain |= others.is_certain;
        self.may_all(others);
    }

    pub fn are_certain(&self) -> bool {
        self.is_certain
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    pub fn may_be(&self, status: ssl_status) -> bool {
        self.known.iter().any(|(known, _)| *known == status)
    }

    /// What is wrong with an answer, if anything is.
    pub fn judge(&self, status: ssl_status, message: &str) -> Result<(), String> {
        if status == SSL_STATUS_OK {
            return match self.is_certain {
                true => Err(format!("was accepted in spite of {:?}", self.known)),
                false => Ok(()),
            };
        }
        if !STATUSES.contains(&status) {
            return Err(format!("gave the status {status}: {message}"));
        }
        let expected = |(known, word): &(ssl_status, &str)| *known == status && message.contains(word);
        match self.known.iter().any(expected) {
            true => Ok(()),
            false => {
                Err(format!("was refused with {status}: \"{message}\", its faults are {:?}", self.known))
            }
        }
    }
}
