//! Meanings: what a missing field is for, in English from its documentation, and in Chinese from here.
//!
//! Only fields that must be given are here; no other is ever said to be missing.

use super::sentence::Words;

/// The documentation of every field that must be given, and the same in Chinese.
const MEANINGS: [(&str, &str); 14] = [
    ("The application that the workload is part of.", "工作负载所属的应用"),
    (
        "The department that owns the application, such as city/finance/treasury.",
        "应用所属的部门，如 city/finance/treasury",
    ),
    ("The workload's name, unique in its application.", "工作负载的名称，在应用内唯一"),
    (
        "Its kind of life: a service runs until it is stopped, a job to its end, cron is a job at \
         set times, per-node is a service with one copy on every node.",
        "工作负载的类型（service 持续运行直到被停止，job 运行到结束，cron 定时运行 job，per-node \
         在每个节点运行一个 service 副本）",
    ),
    (
        "The program and its arguments, one word an item; no shell reads them.",
        "程序及其参数，每项一个词，不经过 shell",
    ),
    ("Where it is put, below the working directory.", "文件在工作目录下的路径"),
    ("The name of the port.", "端口的名称"),
    ("What it is called.", "它的名称"),
    ("Where it appears, below the working directory.", "卷在工作目录下的路径"),
    ("Its begin.", "开始时刻"),
    ("Its end; before its begin means on the next day.", "结束时刻，早于开始时刻表示次日"),
    (
        "Minute, hour, day, month and day of the week, such as \"30 2 * * mon-fri\".",
        "分钟、小时、日期、月份和星期，如 \"30 2 * * mon-fri\"",
    ),
    (
        "What it is called; the instance finds its number in `PORT_NAME`.",
        "它的名称，实例从 `PORT_NAME` 得知其端口号",
    ),
    ("The digest of its bytes; anything else is refused.", "内容的摘要，不符者一律拒绝"),
];
/// The same of the references to secrets.
const MEANINGS_OF_SECRETS: [(&str, &str); 2] = [
    ("Its name in the department's store of secrets.", "它在部门机密库中的名称"),
    (
        "The file it is put into, below the directory of the instance's secrets.",
        "存放它的文件，在实例的机密目录之下",
    ),
];

/// Says what a field is for. A sentence that has no translation stays in English.
pub(super) fn meaning(doc: &str) -> Words {
    let english = as_message(doc);
    let chinese = chinese(doc).map_or_else(|| english.clone(), str::to_owned);
    Words { english, chinese }
}

fn chinese(doc: &str) -> Option<&'static str> {
    let mut all = MEANINGS.iter().chain(&MEANINGS_OF_SECRETS);
    all.find(|(english, _)| *english == doc).map(|(_, chinese)| *chinese)
}

/// Writes a sentence of the documentation as a message: lower case, no full stop.
fn as_message(doc: &str) -> String {
    let mut message = doc.trim_end_matches('.').to_owned();
    if let Some(first) = message.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    message
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Gathers the documentation of every field that a schema requires.
    fn required(schema: &Value, found: &mut Vec<String>) {
        for name in schema["required"].as_array().into_iter().flatten() {
            let name = name.as_str().expect("the name of a field");
            let doc = schema["properties"][name]["description"].as_str();
            found.push(doc.expect("every field is documented").to_owned());
        }
        match schema {
            Value::Object(fields) => fields.values().for_each(|each| required(each, found)),
            Value::Array(items) => items.iter().for_each(|each| required(each, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn every_field_that_must_be_given_has_its_meaning_in_chinese_and_no_other_has() {
        let mut docs = Vec::new();
        required(&crate::manifest::schema(), &mut docs);
        let lacking: Vec<&String> = docs.iter().filter(|doc| chinese(doc).is_none()).collect();
        assert!(lacking.is_empty(), "without Chinese: {lacking:#?}");
        for (english, _) in MEANINGS.iter().chain(&MEANINGS_OF_SECRETS) {
            assert!(docs.iter().any(|doc| doc == english), "of no field: {english}");
        }
    }
}
