//! The tables that tests keep: a line that says what they are, one of columns, and one for each row.

use crate::Failure;

pub(crate) struct Table {
    columns: Vec<String>,
    rows: Vec<(String, Vec<f64>)>,
}

impl Table {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let mut lines = text.lines().skip(1);
        let columns = lines.next().ok_or("a table without columns")?;
        let columns: Vec<String> = columns.split_whitespace().map(str::to_owned).collect();
        let rows = lines.map(|line| {
            let mut words: Vec<&str> = line.split_whitespace().collect();
            let name_len = words.len().checked_sub(columns.len()).ok_or("a row with too little")?;
            let values = words.split_off(name_len).into_iter().map(str::parse);
            Ok((words.join(" "), values.collect::<Result<_, _>>()?))
        });
        Ok(Self { rows: rows.collect::<Result<_, Failure>>()?, columns })
    }

    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(String::as_str)
    }

    pub(crate) fn row(&self, name: &str) -> Result<&[f64], Failure> {
        let row = self.rows.iter().find(|(row, _)| row == name);
        Ok(&row.ok_or_else(|| format!("no row {name:?}"))?.1)
    }

    pub(crate) fn value(&self, row: &str, column: &str) -> Result<f64, Failure> {
        let at = self.columns().position(|one| one == column);
        Ok(self.row(row)?[at.ok_or_else(|| format!("no column {column:?}"))?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "seeds\n            MB/s start\n1 % loss    11.5   inf\nmemory       2.0   1.0\n";

    #[test]
    fn rows_have_names_of_several_words() {
        let table = Table::parse(TEXT).unwrap();
        assert_eq!(table.columns().collect::<Vec<_>>(), ["MB/s", "start"]);
        assert_eq!(table.row("1 % loss").unwrap(), [11.5, f64::INFINITY]);
        assert_eq!(table.value("memory", "start").unwrap(), 1.0);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let table = Table::parse(TEXT).unwrap();
        assert_eq!(table.row("2 % loss").unwrap_err().to_string(), "no row \"2 % loss\"");
        assert_eq!(table.value("memory", "p50").unwrap_err().to_string(), "no column \"p50\"");
        assert!(Table::parse("seeds\n  a b c\nrow 1.0 2.0\n").is_err());
        assert!(Table::parse("seeds\n").is_err());
    }
}
