//! What two peers of ours tell each other about their heartbeats, so that both notice a broken path
//! within seconds. Old peers ignore these messages and are judged by the old, slow timers.
//!
//! An overlay knows from arriving heartbeats whether it hears the peer. Whether the peer hears it
//! can only be told by the peer, over the mesh connection: a path may be broken in one direction.
//! The invariant: nothing here is sent to, or expected of, a peer that has not told its pace.
//!
//! ```text
//!  tag 16, u16  the sender sends a heartbeat every so many milliseconds
//!  tag 17       heartbeats of the receiver do not reach the sender
//!  tag 18       they do again
//! ```

use std::{fmt, time::Duration};

/// How often heartbeats are sent to a peer that told us its pace.
pub const PACE: Duration = Duration::from_millis(400);
/// Heartbeats of a peer that may be missed, before its path counts as broken. With one packet of
/// twenty lost, that happens by chance once in three million heartbeats.
const MISSED: u32 = 5;
/// Paces that are believed: shorter ones would make every hiccup a failure, longer ones are the old.
const BELIEVED: std::ops::RangeInclusive<Duration> = PACE..=Duration::from_secs(10);

/// A message about heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// The sender sends them at this pace.
    Pace(Duration),
    /// The sender does not hear them.
    Deaf,
    /// It hears them again.
    Hears,
}

impl Note {
    /// What this host says of its pace.
    #[must_use]
    pub fn ours() -> Self {
        Self::Pace(PACE)
    }

    /// The control message: tag and payload.
    #[must_use]
    pub fn emit(self) -> Vec<u8> {
        match self {
            Self::Pace(pace) => {
                let millis = u16::try_from(pace.as_millis()).unwrap_or(u16::MAX);
                let [high, low] = millis.to_be_bytes();
                vec![tag::PACE, high, low]
            }
            Self::Deaf => vec![tag::DEAF],
            Self::Hears => vec![tag::HEARS],
        }
    }

    /// Reads a control message; `None`: it is another one, or broken.
    #[must_use]
    pub fn parse(message: &[u8]) -> Option<Self> {
        match message {
            [tag::PACE, high, low, ..] => {
                let millis = u16::from_be_bytes([*high, *low]);
                Some(Self::Pace(Duration::from_millis(millis.into())))
            }
            [tag::DEAF, ..] => Some(Self::Deaf),
            [tag::HEARS, ..] => Some(Self::Hears),
            _ => None,
        }
    }
}

/// How long the silence of a peer with this pace is borne.
#[must_use]
pub fn patience(pace: Duration) -> Duration {
    pace.clamp(*BELIEVED.start(), *BELIEVED.end()) * MISSED
}

/// Why a path does not pass its health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Silence {
    /// No heartbeat of the peer has arrived for so long.
    Here(Duration),
    /// The peer says that none of ours arrive.
    There,
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(span) => write!(f, "no heartbeat for {} s", span.as_secs_f32()),
            Self::There => f.write_str("the peer does not hear our heartbeats"),
        }
    }
}

mod tag {
    pub(super) const PACE: u8 = 16;
    pub(super) const DEAF: u8 = 17;
    pub(super) const HEARS: u8 = 18;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_as_written() {
        for note in [Note::ours(), Note::Deaf, Note::Hears] {
            assert_eq!(Note::parse(&note.emit()), Some(note));
        }
        assert_eq!(Note::ours().emit(), [16, 0x01, 0x90]);
    }

    #[test]
    fn other_messages_are_no_notes() {
        for message in [&[][..], &[0], &[1], &[16], &[16, 1], &[19]] {
            assert_eq!(Note::parse(message), None, "{message:?}");
        }
    }

    #[test]
    fn a_pace_of_nothing_is_not_believed() {
        assert_eq!(patience(Duration::ZERO), Duration::from_secs(2));
        assert_eq!(patience(Duration::MAX), Duration::from_secs(50));
    }

    #[test]
    fn silence_says_how_long_it_is() {
        let short = Silence::Here(Duration::from_secs(2));
        assert_eq!(short.to_string(), "no heartbeat for 2 s");
        assert_eq!(
            Silence::Here(Duration::from_secs(60)).to_string(),
            "no heartbeat for 60 s"
        );
    }
}
