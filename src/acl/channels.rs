//! Channels that a user has lost: who is subscribed to one of them is cut.

use super::user::User;
use crate::tier::glob;

/// The channels of a user that had more before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channels(Vec<Box<[u8]>>);

impl Channels {
    /// Those of `after`, unless they are all that `before` had; as Redis finds out, pattern by pattern.
    pub fn left(before: &User, after: &User) -> Option<Channels> {
        if after.all_channels() {
            return None;
        }
        let left: Vec<Box<[u8]>> = after.channels().map(Box::from).collect();
        let kept = |pattern: &[u8]| left.iter().any(|left| **left == *pattern);
        let lost = before.all_channels() || !before.channels().all(kept);
        lost.then_some(Channels(left))
    }

    /// Whether they include a channel, or a pattern of channels, which has to be one of them word for word.
    pub fn include(&self, name: &[u8], pattern: bool) -> bool {
        self.0.iter().any(|own| if pattern { **own == *name } else { glob::matches(own, name) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(rules: &str) -> User {
        let mut user = User::new(b"u", 1);
        let rules = crate::acl::join_selectors(rules.split(' ').map(str::as_bytes)).expect("rules");
        rules.iter().for_each(|rule| user.apply(rule).expect("a rule"));
        user
    }

    #[test]
    fn channels_are_lost_pattern_by_pattern() {
        let left = |before, after| Channels::left(&user(before), &user(after));
        let some = |patterns: &[&str]| {
            Some(Channels(patterns.iter().map(|pattern| pattern.as_bytes().into()).collect()))
        };
        assert_eq!(left("&a &b", "&b &a &c"), None);
        assert_eq!(left("&a &b", "&b (&a +get)"), None);
        assert_eq!(left("&a", "allchannels"), None);
        assert_eq!(left("allchannels", "(allchannels)"), None);
        assert_eq!(left("&a &b", "&b"), some(&["b"]));
        assert_eq!(left("&a (&b)", "&a"), some(&["a"]));
        assert_eq!(left("allchannels", "&*x"), some(&["*x"]));
        assert_eq!(left("&a", "&a*"), some(&["a*"]));
    }

    #[test]
    fn patterns_have_to_be_the_same() {
        let channels = Channels::left(&user("allchannels"), &user("&a* &b")).expect("some are lost");
        assert!(channels.include(b"ab", false) && channels.include(b"b", false));
        assert!(!channels.include(b"c", false));
        assert!(channels.include(b"a*", true) && channels.include(b"b", true));
        assert!(!channels.include(b"ab*", true));
    }
}
