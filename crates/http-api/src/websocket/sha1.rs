//! SHA-1 (RFC 3174), which the handshake of websockets asks for and nothing else here may use: it protects nothing there.

/// The digest of a short text.
pub fn digest(message: &[u8]) -> [u8; 20] {
    let mut state: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize((message.len() + 9).next_multiple_of(64) - 8, 0);
    padded.extend((message.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks_exact(64) {
        mix(&mut state, block);
    }
    let mut digest = [0; 20];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

fn mix(state: &mut [u32; 5], block: &[u8]) {
    let mut words = [0u32; 80];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
        *word = bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
    }
    for at in 16..80 {
        words[at] = (words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16]).rotate_left(1);
    }
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    for (at, word) in words.into_iter().enumerate() {
        let (mixed, constant) = match at / 20 {
            0 => ((b & c) | (!b & d), 0x5a82_7999u32),
            1 => (b ^ c ^ d, 0x6ed9_eba1),
            2 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6),
        };
        let next = a.rotate_left(5).wrapping_add(mixed).wrapping_add(e).wrapping_add(constant).wrapping_add(word);
        (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
    }
    for (word, more) in state.iter_mut().zip([a, b, c, d, e]) {
        *word = word.wrapping_add(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digests() {
        // The first three are of RFC 3174; the rest by sha1sum(1), around the lengths at which a block is added.
        for (message, hex) in [
            (b"abc".to_vec(), "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (
                b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".to_vec(),
                "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
            ),
            (b"01234567".repeat(80), "dea356a2cddd90c7a7ecedc5ebb563934f460452"),
            (b"".to_vec(), "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            (vec![b'x'; 55], "cef734ba81a024479e09eb5a75b6ddae62e6abf1"),
            (vec![b'x'; 56], "901305367c259952f4e7af8323f480d59f81335b"),
            (vec![b'x'; 63], "0ddc4e0cccd9a12850deb5abb0853a4425559fec"),
            (vec![b'x'; 64], "bb2fa3ee7afb9f54c6dfb5d021f14b1ffe40c163"),
        ] {
            let found: String = digest(&message).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, hex, "{} bytes", message.len());
        }
    }
}
