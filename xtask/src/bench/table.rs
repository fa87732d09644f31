//! Figures, and the table of their medians and ratios.

use std::fmt;

use serde_json::{Value, json};

/// All measurements of a run: a row per operation, a column per engine.
pub struct Table {
    engines: Vec<String>,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    unit: &'static str,
    /// Per engine.
    values: Vec<Vec<f64>>,
}

impl Table {
    pub fn new(engines: Vec<String>) -> Table {
        Table { engines, rows: Vec::new() }
    }

    pub fn add(&mut self, name: &str, engine: &str, unit: &'static str, value: f64) {
        let Some(column) = self.engines.iter().position(|e| e == engine) else { return };
        let at = match self.rows.iter().position(|row| row.name == name) {
            Some(at) => at,
            None => {
                self.rows.push(Row { name: name.into(), unit, values: vec![Vec::new(); self.engines.len()] });
                self.rows.len() - 1
            }
        };
        self.rows[at].values[column].push(value);
    }

    pub fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let values: serde_json::Map<String, Value> =
                self.engines.iter().cloned().zip(row.values.iter().map(|values| json!(values))).collect();
            json!({"name": row.name, "unit": row.unit, "values": values})
        });
        Value::Array(rows.collect())
    }
}

/// The middle value; the mean of the two middle ones of an even number.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

fn short(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {:<34} | unit |", "median")?;
        for engine in &self.engines {
            write!(f, " {engine:>8} |")?;
        }
        for peer in self.engines.iter().skip(1) {
            write!(f, " {:>13} |", format!("{peer}/{}", self.engines[0]))?;
        }
        write!(f, "\n|{:-<36}|------|", "")?;
        for _ in &self.engines {
            write!(f, "{:->9}:|", "")?;
        }
        for _ in self.engines.iter().skip(1) {
            write!(f, "{:->14}:|", "")?;
        }
        for row in &self.rows {
            write!(f, "\n| {:<34} | {:<4} |", row.name, row.unit)?;
            let medians: Vec<Option<f64>> = row.values.iter().map(|values| median(values)).collect();
            for median in &medians {
                write!(f, " {:>8} |", median.map_or("-".into(), short))?;
            }
            for peer in medians.iter().skip(1) {
                let ratio = match (medians[0], peer) {
                    (Some(own), Some(peer)) if own > 0.0 => format!("{:.1}", peer / own),
                    _ => "-".into(),
                };
                write!(f, " {ratio:>13} |")?;
            }
        }
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_and_even() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn table_shows_medians_and_ratios() {
        let mut table = Table::new(vec!["hoist".into(), "dockerd".into()]);
        table.add("exec", "hoist", "ms", 4.0);
        table.add("exec", "dockerd", "ms", 40.0);
        let text = table.to_string();
        assert!(text.contains("4.00") && text.contains("40.0") && text.contains("10.0"), "{text}");
    }
}
