//! `docs/protocol.md`, rendered from the `.proto` files of the message relay and a template.

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use prost_reflect::{
    DescriptorPool, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor,
};

/// The dialects in the order of their chapters, by the names of their files.
const FILES: [&str; 2] = ["deployed.proto", "seed.proto"];

/// Renders the page anew and writes it, or only says whether it is as it should be.
///
/// # Errors
/// Files that are not there or make no sense; with `check`, a page that is not up to date.
pub(crate) fn docs(root: &Path, check: bool) -> Result<(), Box<dyn Error>> {
    let (sources, page) = (root.join("docs/proto"), root.join("docs/protocol.md"));
    let mut files = Vec::new();
    for name in FILES {
        files.push(parse(name, &fs::read_to_string(sources.join(name))?)?);
    }
    let template = fs::read_to_string(sources.join("protocol.template.md"))?;
    let rendered = render(&template, &files);
    if !check {
        return Ok(fs::write(page, rendered)?);
    }
    if fs::read_to_string(page).is_ok_and(|found| found == rendered) {
        return Ok(());
    }
    Err("docs/protocol.md is not up to date; `cargo xtask docs` writes it".into())
}

fn parse(name: &str, source: &str) -> Result<FileDescriptor, Box<dyn Error>> {
    let mut pool = DescriptorPool::new();
    pool.add_file_descriptor_proto(protox_parse::parse(name, source)?)?;
    Ok(pool.get_file_by_name(name).ok_or("a file is not in the pool that it was added to")?)
}

fn render(template: &str, files: &[FileDescriptor]) -> String {
    let (mut contents, mut chapters) = (String::new(), Vec::new());
    for file in files {
        let name = file.package_name();
        let _ = writeln!(contents, "- [The dialect `{name}`](#{name})");
        let mut sections = vec![format!(
            "<a id=\"{name}\"></a>\n\n## The dialect `{name}`\n\n{}\n",
            // The description of a file stands before its first statement, the syntax.
            comment(file, &[12])
        )];
        for message in file.messages() {
            let _ = writeln!(contents, "  - {}", link(message.name(), message.full_name()));
            sections.push(self::message(&message));
        }
        for it in file.enums() {
            let _ = writeln!(contents, "  - {}", link(it.name(), it.full_name()));
            sections.push(enumeration(&it));
        }
        chapters.push(sections.join("\n"));
    }
    template
        .replace("{{contents}}", contents.trim_end())
        .replace("{{messages}}", chapters.join("\n").trim_end())
}

fn message(message: &MessageDescriptor) -> String {
    let file = message.parent_file();
    let mut text = heading(message.name(), message.full_name(), &comment(&file, message.path()));
    if message.fields().len() == 0 {
        return text;
    }
    text.push_str("\n| number | field | label | type | description |\n|---|---|---|---|---|\n");
    for field in message.fields() {
        let (number, name) = (field.number(), field.name());
        let description = one_line(&comment(&file, field.path()));
        let (label, kind) = (label(&field), kind(&field));
        let _ = writeln!(text, "| {number} | {name} | {label} | {kind} | {description} |");
    }
    for oneof in message.oneofs() {
        let description = comment(&file, oneof.path());
        let _ = write!(text, "\nAt most one field of `{}` is there. {description}\n", oneof.name());
    }
    text
}

fn enumeration(it: &EnumDescriptor) -> String {
    let file = it.parent_file();
    let mut text = heading(it.name(), it.full_name(), &comment(&file, it.path()));
    text.push_str("\n| number | name | description |\n|---|---|---|\n");
    for value in it.values() {
        let (number, name) = (value.number(), value.name());
        let description = one_line(&comment(&file, value.path()));
        let _ = writeln!(text, "| {number} | {name} | {description} |");
    }
    text
}

fn heading(name: &str, full_name: &str, description: &str) -> String {
    format!("<a id=\"{full_name}\"></a>\n\n### {name}\n\n{description}\n")
}

fn label(field: &FieldDescriptor) -> String {
    match field.containing_oneof() {
        Some(oneof) => format!("one of `{}`", oneof.name()),
        None if field.is_list() => "repeated".to_owned(),
        None => String::new(),
    }
}

fn kind(field: &FieldDescriptor) -> String {
    match field.kind() {
        Kind::Message(entry) if field.is_map() => {
            let [key, value] = [entry.map_entry_key_field(), entry.map_entry_value_field()];
            format!("map<{}, {}>", kind(&key), kind(&value))
        }
        Kind::Message(it) => link(it.name(), it.full_name()),
        Kind::Enum(it) => link(it.name(), it.full_name()),
        scalar => format!("{scalar:?}"),
    }
}

fn link(name: &str, full_name: &str) -> String {
    format!("[{name}](#{full_name})")
}

/// What stands in comments before the element at a path of the file's descriptor.
fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let location = info.and_then(|info| info.location.iter().find(|it| it.path == path));
    let lines = location.map_or("", |location| location.leading_comments()).lines();
    let lines: Vec<_> = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    lines.join("\n").trim().to_owned()
}

/// A comment as it fits in a cell of a table.
fn one_line(comment: &str) -> String {
    comment.replace('\n', " ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(source: &str) -> String {
        render("{{contents}}\n{{messages}}\n", &[parse("a.proto", source).unwrap()])
    }

    #[test]
    fn messages_enums_and_what_is_said_of_them_are_rendered() {
        let page = rendered(
            "// A file.\nsyntax = \"proto3\";\npackage a;\n\
             // A message\n// of two lines.\nmessage M {\n\
             // Colours | shades.\nrepeated E shades = 3;\n\
             // By name.\nmap<string, M> more = 4;\n\
             // A choice.\noneof either {\n// Nothing.\nN n = 5;\n}\n}\n\
             message N {}\n\
             // Some.\nenum E {\n// The first.\nRED = 0;\n}\n",
        );
        let expected = r#"- [The dialect `a`](#a)
  - [M](#a.M)
  - [N](#a.N)
  - [E](#a.E)
<a id="a"></a>

## The dialect `a`

A file.

<a id="a.M"></a>

### M

A message
of two lines.

| number | field | label | type | description |
|---|---|---|---|---|
| 3 | shades | repeated | [E](#a.E) | Colours \| shades. |
| 4 | more |  | map<string, [M](#a.M)> | By name. |
| 5 | n | one of `either` | [N](#a.N) | Nothing. |

At most one field of `either` is there. A choice.

<a id="a.N"></a>

### N



<a id="a.E"></a>

### E

Some.

| number | name | description |
|---|---|---|
| 0 | RED | The first. |
"#;
        assert_eq!(page, expected);
    }
}
