//! Seeded mutation of byte strings, for tests that throw bad input at a parser.
//!
//! ```text
//! seeds (well-formed examples) ──▶ mutate (flip, cut, repeat, splice, tokens) ──▶ the function under test: must not panic
//! ```
//!
//! It promises that a run is repeatable: [`Rounds`] prints the seed of a failure. It does not measure coverage, so it is no
//! substitute for a long run with a coverage-guided fuzzer; it is what every run of the tests can afford.
//! `HOIST_FUZZ_ROUNDS` sets the number of inputs (default 20,000), `HOIST_FUZZ_SEED` the first seed.

/// xorshift64*: small, fast and the same everywhere. Not for secrets.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator; equal seeds give equal sequences.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number in `0..limit`; 0 if `limit` is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        if limit == 0 { 0 } else { usize::try_from(self.bits() % limit as u64).expect("it is below a usize") }
    }
}

/// Runs `test` on mutations of `seeds`, as often as `HOIST_FUZZ_ROUNDS` says. `tokens` are words of the format under test
/// ("layers", "sha256:", "..") that a blind flip of bits would never find.
///
/// # Panics
/// If `test` does; the seed of that input is printed before, so that `HOIST_FUZZ_SEED=n HOIST_FUZZ_ROUNDS=1` repeats it.
pub fn run(seeds: &[&[u8]], tokens: &[&[u8]], mut test: impl FnMut(&[u8])) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let rounds = number("HOIST_FUZZ_ROUNDS").unwrap_or(20_000);
    let first = number("HOIST_FUZZ_SEED").unwrap_or(1);
    for seed in first..first.saturating_add(rounds) {
        let input = mutate(seeds, tokens, seed);
        let report = Report(seed);
        test(&input);
        std::mem::forget(report);
    }
}

/// Prints the seed when it is dropped by a panic.
struct Report(u64);

impl Drop for Report {
    fn drop(&mut self) {
        eprintln!("the input of HOIST_FUZZ_SEED={} failed; HOIST_FUZZ_ROUNDS=1 runs it alone", self.0);
    }
}

/// The input of one seed: one of `seeds`, changed in one to eight places.
#[must_use]
pub fn mutate(seeds: &[&[u8]], tokens: &[&[u8]], seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut input = seeds.get(random.below(seeds.len())).map_or_else(Vec::new, |seed| seed.to_vec());
    for _ in 0..=random.below(8) {
        let at = random.below(input.len() + 1);
        match random.below(8) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = [0, 0x7f, 0x80, 0xff, b'\n', b'"', b'/', b'0'][random.below(8)],
            2 => input.truncate(at),
            3 => {
                let end = at + random.below(input.len() - at + 1).min(64);
                input.drain(at..end);
            }
            4 => {
                let end = at + random.below(input.len() - at + 1).min(256);
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            5 if !tokens.is_empty() => {
                let token = tokens[random.below(tokens.len())];
                input.splice(at..at, token.iter().copied());
            }
            6 if !seeds.is_empty() => {
                let other = seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => {
                let byte = random.bits().to_le_bytes()[0];
                input.insert(at, byte);
            }
        }
    }
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_input_each_time() {
        let seeds: [&[u8]; 2] = [b"{\"layers\":[]}", b"sha256:00"];
        let inputs: Vec<_> = (0..500).map(|seed| mutate(&seeds, &[b"digest"], seed)).collect();
        let again: Vec<_> = (0..500).map(|seed| mutate(&seeds, &[b"digest"], seed)).collect();
        assert_eq!(inputs, again);
        assert!(inputs.iter().filter(|input| seeds.iter().all(|seed| seed != input)).count() > 450);
    }
}
