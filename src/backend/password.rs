//! The password of a node, which CONFIG SET may change while the process runs.

use std::sync::Arc;

use parking_lot::RwLock;

use super::connection::DialError;
use crate::config::Secret;

/// A password as it was configured, or as the node has been told since then. Copies are one.
#[derive(Clone, Debug, Default)]
pub struct Password {
    configured: Option<Secret>,
    learned: Arc<RwLock<Option<Option<Secret>>>>,
}

impl From<Option<Secret>> for Password {
    fn from(configured: Option<Secret>) -> Self {
        Password { configured, learned: Arc::default() }
    }
}

impl Password {
    /// The password for connections that are opened now.
    pub fn get(&self) -> Option<Secret> {
        self.learned.read().clone().unwrap_or_else(|| self.configured.clone())
    }

    /// The node asks for another one from now on, or (None) for none.
    pub fn learn(&self, password: Option<Secret>) {
        *self.learned.write() = Some(password);
    }

    /// A node that refuses what was learned may have been started again, and have forgotten.
    pub(super) fn review(&self, error: &DialError) {
        let refuses = |reply: &str| ["NOAUTH", "WRONGPASS", "ERR AUTH"].iter().any(|e| reply.starts_with(e));
        if matches!(error, DialError::Refused { reply, .. } if refuses(reply)) {
            *self.learned.write() = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_holds_until_it_is_refused() {
        let password = Password::from(Some(Secret::new("first")));
        let copy = password.clone();
        password.learn(Some(Secret::new("second")));
        assert_eq!(copy.get(), Some(Secret::new("second")));
        copy.learn(None);
        assert_eq!(password.get(), None);
        let refused = |reply: &str| DialError::Refused { command: "HELLO".into(), reply: reply.into() };
        password.review(&refused("LOADING Redis is loading the dataset in memory"));
        assert_eq!(password.get(), None);
        password.review(&refused("NOAUTH HELLO must be called with the client already authenticated"));
        assert_eq!(copy.get(), Some(Secret::new("first")));
    }
}
