//! Aligned columns by the rules of Go's `text/tabwriter`: a column is a run of lines that have a tab after the cell;
//! it is as wide as its widest cell plus the padding, and at least the minimum.

/// Replaces tabs by blanks.
pub(crate) fn align(text: &str, minimum: usize, padding: usize) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let widths: Vec<Vec<usize>> =
        lines.iter().map(|cells| cells.iter().map(|cell| cell.chars().count()).collect()).collect();
    let most = lines.iter().map(Vec::len).max().unwrap_or(0);
    let mut padded: Vec<Vec<usize>> = widths.clone();
    for column in 0..most.saturating_sub(1) {
        let mut start = 0;
        while start < lines.len() {
            if lines[start].len() <= column + 1 {
                start += 1;
                continue;
            }
            let end = (start..lines.len()).find(|l| lines[*l].len() <= column + 1).unwrap_or(lines.len());
            let widest = (start..end).map(|l| widths[l][column]).max().unwrap_or(0);
            for row in &mut padded[start..end] {
                row[column] = (widest + padding).max(minimum);
            }
            start = end;
        }
    }
    let mut out = String::with_capacity(text.len() * 2);
    for (i, cells) in lines.iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        for (column, cell) in cells.iter().enumerate() {
            out.push_str(cell);
            if column + 1 < cells.len() {
                out.extend(std::iter::repeat_n(' ', padded[i][column] - widths[i][column]));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::align;

    #[test]
    fn columns() {
        for (text, expect) in [
            ("A\tB\nlonger cell\tx\n", "A             B\nlonger cell   x\n"),
            ("A\tB\n", "A         B\n"),
            ("a\tb\tc\nplain\nlonglonglong\tb\tc\n", "a         b         c\nplain\nlonglonglong   b         c\n"),
            ("ü\tx\nabcdefghij\ty", "ü            x\nabcdefghij   y"),
            ("", ""),
        ] {
            assert_eq!(align(text, 10, 3), expect);
        }
    }
}
