//! Pauses between attempts: doubling, with chance, up to a limit.

use std::time::Duration;

/// The pauses of one loop.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    /// Pauses from `first` to `most`.
    pub fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            next: first,
        }
    }

    /// The next pause: between half of the present one and all of it. `chance` is drawn from
    /// `0..=255`.
    pub fn pause(&mut self, chance: u8) -> Duration {
        let pause = self.next / 2 + share(self.next / 2, chance);
        self.next = (self.next * 2).min(self.most);
        pause
    }

    /// It worked: the next pause is the first again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// The part of `whole` that `chance` of 255 is.
pub fn share(whole: Duration, chance: u8) -> Duration {
    whole * u32::from(chance) / 255
}

/// A drawn number; the middle one when the system gives none, which spreads nothing but is safe.
pub fn chance() -> u8 {
    let mut byte = [128];
    // Only how long to wait depends on it.
    let _ = getrandom::fill(&mut byte);
    byte[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_start_anew() {
        let mut pauses = Backoff::new(Duration::from_secs(1), Duration::from_secs(4));

        let grown: Vec<u64> = (0..4).map(|_| pauses.pause(255).as_secs()).collect();
        pauses.reset();

        assert_eq!(grown, [1, 2, 4, 4]);
        assert_eq!(pauses.pause(0), Duration::from_millis(500));
    }
}
