//! A comparison of XML documents that ignores what carries no meaning: white space between elements, namespaces, and the
//! order of elements of different names.

/// An element.
#[derive(Debug, PartialEq, Eq)]
pub struct Element {
    pub name: String,
    pub text: String,
    pub children: Vec<Element>,
}

impl Element {
    /// Removes the children of a name.
    pub fn without(mut self, name: &str) -> Self {
        self.children.retain(|child| child.name != name);
        self
    }
}

pub fn parse(text: &str) -> Element {
    let mut rest = text.trim();
    let root = element(&mut rest);
    assert!(rest.trim().is_empty(), "left over: {rest}");
    root
}

fn element(rest: &mut &str) -> Element {
    let (tag, after) = rest.strip_prefix('<').and_then(|rest| rest.split_once('>')).unwrap();
    *rest = after;
    let empty = tag.ends_with('/');
    let name = tag.trim_end_matches('/').split_whitespace().next().unwrap().to_owned();
    let mut found = Element { name, text: String::new(), children: Vec::new() };
    if empty {
        return found;
    }
    loop {
        let (text, _) = rest.split_once('<').unwrap();
        *rest = &rest[text.len()..];
        found.text += text;
        if let Some(closed) = rest.strip_prefix("</") {
            let (name, after) = closed.split_once('>').unwrap();
            assert_eq!(name, found.name);
            *rest = after;
            break;
        }
        found.children.push(element(rest));
    }
    if !found.children.is_empty() {
        found.text = found.text.trim().to_owned();
    }
    // Stable, so that the items of flattened lists keep their order; that of maps' entries means nothing.
    let key = |element: &Element| match element.name.as_str() {
        "entry" | "myMap" => element.children.first().map(|key| key.text.clone()),
        _ => None,
    };
    found.children.sort_by_key(|child| (child.name.clone(), key(child)));
    found.text = if found.text.trim().is_empty() { String::new() } else { found.text };
    found
}
