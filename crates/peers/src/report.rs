//! Figures by case and by who they are of: printed as a table for docs/benchmarks.md, each beside its ratio to a peer.

use std::fmt::Write;

/// Figures of one kind.
pub(crate) struct Table {
    /// What it is about; the chart's heading too.
    pub(crate) title: String,
    /// The name of the chart's file.
    pub(crate) file: &'static str,
    /// What the figures are.
    pub(crate) unit: &'static str,
    /// Whose figures the others are compared with.
    pub(crate) reference: &'static str,
    /// Whether larger figures are better.
    pub(crate) is_rate: bool,
    subjects: Vec<String>,
    cases: Vec<Case>,
}

/// One line of a table.
pub(crate) struct Case {
    /// What was measured.
    pub(crate) name: String,
    /// By the place of who it was measured of.
    pub(crate) values: Vec<Option<f64>>,
}

impl Table {
    /// Without figures.
    pub(crate) fn new(
        title: String,
        file: &'static str,
        unit: &'static str,
        reference: &'static str,
        is_rate: bool,
    ) -> Self {
        Self {
            title,
            file,
            unit,
            reference,
            is_rate,
            subjects: Vec::new(),
            cases: Vec::new(),
        }
    }

    /// Who was measured, in the order of first figures.
    pub(crate) fn subjects(&self) -> &[String] {
        &self.subjects
    }

    /// The lines, in the order of first figures.
    pub(crate) fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// Notes a figure; None: could not be measured.
    pub(crate) fn put(&mut self, case: &str, subject: &str, value: Option<f64>) {
        let column = place_of(&mut self.subjects, |have| have == subject, || subject.to_owned());
        let new = || Case {
            name: case.to_owned(),
            values: Vec::new(),
        };
        let line = place_of(&mut self.cases, |have| have.name == case, new);
        let values = &mut self.cases[line].values;
        values.resize(values.len().max(column + 1), None);
        values[column] = value;
    }

    /// The table as Markdown; in brackets the ratio to the reference, above 1 where it is better than that.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("### {}\n\n| {} |", self.title, self.unit);
        self.subjects.iter().for_each(|subject| {
            let _ = write!(text, " {subject} |");
        });
        text += "\n|---|";
        text += &"---|".repeat(self.subjects.len());
        let reference = self.subjects.iter().position(|subject| subject == self.reference);
        for case in &self.cases {
            let _ = write!(text, "\n| {} |", case.name);
            let against = reference.and_then(|place| case.values.get(place).copied().flatten());
            for place in 0..self.subjects.len() {
                let value = case.values.get(place).copied().flatten();
                let against = against.filter(|_| Some(place) != reference);
                let _ = write!(text, " {} |", self.cell(value, against));
            }
        }
        text + "\n"
    }

    fn cell(&self, value: Option<f64>, against: Option<f64>) -> String {
        let Some(value) = value else {
            return "not measured".to_owned();
        };
        match against {
            Some(against) => {
                let ratio = if self.is_rate {
                    value / against
                } else {
                    against / value
                };
                let digits = if ratio < 10.0 { 2 } else { 0 };
                format!("{} ({ratio:.digits$})", number(value))
            }
            None => number(value),
        }
    }
}

/// A figure with as many digits as are worth reading.
pub(crate) fn number(value: f64) -> String {
    match value {
        ..0.1 => format!("{value:.4}"),
        ..10.0 => format!("{value:.3}"),
        ..1000.0 => format!("{value:.1}"),
        _ => grouped(value as u64),
    }
}

fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn place_of<T>(list: &mut Vec<T>, is_it: impl FnMut(&T) -> bool, new: impl FnOnce() -> T) -> usize {
    list.iter().position(is_it).unwrap_or_else(|| {
        list.push(new());
        list.len() - 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_above_one_is_better_than_the_reference() {
        let mut table = Table::new("Times".into(), "times", "ms", "other", false);
        table.put("a", "us", Some(2.0));
        table.put("a", "other", Some(5.0));
        table.put("b", "other", None);
        assert!(
            table
                .markdown()
                .ends_with("| a | 2.000 (2.50) | 5.000 |\n| b | not measured | not measured |\n")
        );
        assert_eq!(number(1_234_567.8), "1,234,567");
    }
}
