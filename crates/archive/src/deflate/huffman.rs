//! Huffman codes of limited length (RFC 1951, 3.2.2).

/// The length in bits of each symbol's code, at most `limit`; 0 for one that does not occur. At least two symbols get a
/// code, so that every code is complete and every decompressor takes it.
pub(super) fn lengths(counts: &[u32], limit: usize, lengths: &mut [u8]) {
    lengths.fill(0);
    // Count above, symbol below: sorted by count, then by symbol, so that equal counts give the same code everywhere.
    let mut sorted: Vec<u64> = counts
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0)
        .map(|(symbol, count)| u64::from(*count) << 16 | symbol as u64)
        .collect();
    for symbol in 0..2u64 {
        if sorted.len() < 2 && !sorted.iter().any(|entry| entry & 0xffff == symbol) {
            sorted.push(1 << 16 | symbol);
        }
    }
    sorted.sort_unstable();
    let mut per_length = depths(&sorted);
    cut(&mut per_length, limit);
    // The rarest symbols get the longest codes.
    let mut rest = sorted.iter();
    for (length, count) in per_length.iter().enumerate().rev() {
        for entry in rest.by_ref().take(*count) {
            lengths[(entry & 0xffff) as usize] = length as u8;
        }
    }
}

/// How many leaves an optimal tree has at each depth. Two queues: leaves by count, and inner nodes, which come into
/// being in order of theirs.
fn depths(sorted: &[u64]) -> Vec<usize> {
    let leaves = sorted.len();
    let mut weight: Vec<u64> = sorted.iter().map(|entry| entry >> 16).collect();
    let mut parent = vec![0usize; 2 * leaves - 1];
    let (mut leaf, mut inner) = (0, leaves);
    for node in leaves..2 * leaves - 1 {
        let mut sum = 0;
        for _ in 0..2 {
            let take_leaf = leaf < leaves && (inner >= node || weight[leaf] <= weight[inner]);
            let taken = if take_leaf { &mut leaf } else { &mut inner };
            sum += weight[*taken];
            parent[*taken] = node;
            *taken += 1;
        }
        weight.push(sum);
    }
    let mut depth = vec![0usize; 2 * leaves - 1];
    let mut per_depth = vec![0usize; 33.max(leaves + 1)];
    for node in (0..2 * leaves - 2).rev() {
        depth[node] = depth[parent[node]] + 1;
        if node < leaves {
            per_depth[depth[node]] += 1;
        }
    }
    per_depth
}

/// Moves what is deeper than `limit` up to it, and makes room by moving others down.
fn cut(per_length: &mut Vec<usize>, limit: usize) {
    let deep: usize = per_length[limit + 1..].iter().sum();
    per_length.truncate(limit + 1);
    if deep == 0 {
        return;
    }
    per_length[limit] += deep;
    let full = 1usize << limit;
    let mut used: usize = (1..=limit).map(|length| per_length[length] << (limit - length)).sum();
    while used > full {
        // A leaf becomes an inner node with two leaves: itself, and one from the bottom. That frees one place there.
        let Some(length) = (1..limit).rev().find(|length| per_length[*length] > 0) else { return };
        per_length[length] -= 1;
        per_length[length + 1] += 2;
        per_length[limit] -= 1;
        used -= 1;
    }
}

/// The codes that belong to lengths, with their bits turned round as the stream has them.
pub(super) fn codes(lengths: &[u8], codes: &mut [u16]) {
    let mut next = [0u16; 17];
    let mut counts = [0u16; 16];
    for length in lengths {
        counts[usize::from(*length)] += 1;
    }
    counts[0] = 0;
    for length in 1..=15 {
        next[length + 1] = (next[length] + counts[length]) << 1;
    }
    for (code, length) in codes.iter_mut().zip(lengths) {
        if *length > 0 {
            let value = next[usize::from(*length)];
            next[usize::from(*length)] += 1;
            *code = value.reverse_bits() >> (16 - length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_complete_and_short_where_it_counts() {
        for (counts, limit) in [
            (vec![0u32; 30], 15),
            (vec![0, 5, 0], 15),
            (vec![1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233], 7),
            ((0..286).map(|n| 1 << (n % 24)).collect(), 15),
            ((0..19).map(|n| 1 << n).collect(), 7),
        ] {
            let mut out = vec![0; counts.len()];
            lengths(&counts, limit, &mut out);
            let used: usize =
                out.iter().filter(|length| **length > 0).map(|length| 1 << (limit - usize::from(*length))).sum();
            assert_eq!(used, 1 << limit, "{counts:?} {out:?}");
            for (a, b) in (0..counts.len()).flat_map(|a| (0..counts.len()).map(move |b| (a, b))) {
                assert!(counts[a] <= counts[b] || counts[b] == 0 || out[a] <= out[b], "{counts:?} {out:?}");
            }
        }
    }

    /// The example of RFC 1951, 3.2.2.
    #[test]
    fn codes_of_the_specification() {
        let mut out = [0; 8];
        codes(&[3, 3, 3, 3, 3, 2, 4, 4], &mut out);
        let straight: Vec<u16> = out
            .iter()
            .zip([3, 3, 3, 3, 3, 2, 4, 4])
            .map(|(code, length)| code.reverse_bits() >> (16 - length))
            .collect();
        assert_eq!(straight, [0b010, 0b011, 0b100, 0b101, 0b110, 0b00, 0b1110, 0b1111]);
    }
}
