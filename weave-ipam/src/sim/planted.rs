//! Defects put in on purpose, to show that they are found.

/// A defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Planted {
    /// A donor does not raise the version of what it gives away: its messages carry the version
    /// from before the grant.
    NoVersionOnDonation,
    /// Messages and answers leave before the snapshot is durable.
    AnswerBeforeWrite,
    /// A grant is told to everyone but not taken out of the donor's file.
    GrantNotWritten,
    /// Who takes a peer over does not say that it is gone. Matters after faults of identity.
    RemovalNotTold,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::NoVersionOnDonation,
        Self::AnswerBeforeWrite,
        Self::GrantNotWritten,
        Self::RemovalNotTold,
    ];
}
