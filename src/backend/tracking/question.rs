//! The questions of a guard.

/// What a guard asks its node.
pub(super) enum Asked {
    Tracking,
    Rest,
    Role,
    Probe,
    /// In a cluster: whether it is well, and who owns which slots in the node's own eyes.
    State,
    Slots,
    Ping,
}

/// One that is not answered yet.
pub(super) struct Question {
    pub(super) what: Asked,
    pub(super) sent: u64,
    pub(super) round: u64,
    pub(super) fences: u64,
}
