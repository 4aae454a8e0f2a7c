//! INFO of several nodes as one: sums where a sum says something, else what the first of them says.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::resp::{Proto, encode, reply};

/// Sections whose numbers are summed.
const SUMMED: [&str; 7] = ["Clients", "Memory", "Stats", "CPU", "Commandstats", "Errorstats", "Keyspace"];
/// The same of single numbers in other sections.
const SUMMED_FIELDS: [&str; 1] = ["rdb_changes_since_last_save"];
/// Sections whose lines are not the same with all nodes: what others have besides is told, too.
const OPEN: [&str; 3] = ["Commandstats", "Errorstats", "Keyspace"];
/// Numbers in these sections of which a sum says nothing.
const ALONE: &str = "maxclients total_system_memory number_of_cached_scripts number_of_functions number_of_libraries \
    client_recent_max_input_buffer client_recent_max_output_buffer latest_fork_usec mem_fragmentation_ratio \
    allocator_frag_ratio allocator_rss_ratio rss_overhead_ratio current_eviction_exceeded_time \
    current_active_defrag_time active_defrag_running expired_stale_perc";

/// The reply to INFO, of the replies of all; `Err` is the node whose reply is none.
pub(super) fn merge<R: AsRef<[u8]>>(replies: &[R]) -> Result<Vec<u8>, usize> {
    let texts = replies.iter().enumerate().map(|(node, reply)| text(reply.as_ref()).ok_or(node));
    let texts = texts.collect::<Result<Vec<_>, usize>>()?;
    let resp3 = replies.first().is_some_and(|reply| reply.as_ref().first() == Some(&b'='));
    let merged = merge_texts(&texts.iter().map(AsRef::as_ref).collect::<Vec<&str>>());
    let mut out = Vec::with_capacity(merged.len() + 32);
    encode::verbatim(&mut out, if resp3 { Proto::Resp3 } else { Proto::Resp2 }, "txt", merged.as_bytes());
    Ok(out)
}

fn text(reply: &[u8]) -> Option<Cow<'_, str>> {
    reply::bulk(reply).filter(|_| !reply::is_error(reply)).map(String::from_utf8_lossy)
}

/// One section of one node: its name, and its lines' names and values.
type Section<'t> = (&'t str, Vec<(&'t str, &'t str)>);

fn sections(text: &str) -> Vec<Section<'_>> {
    let mut all: Vec<Section<'_>> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        match (line.strip_prefix("# "), all.last_mut()) {
            (Some(name), _) => all.push((name, Vec::new())),
            (None, Some((_, lines))) => lines.push(line.split_once(':').unwrap_or((line, ""))),
            (None, None) => all.push(("", vec![line.split_once(':').unwrap_or((line, ""))])),
        }
    }
    all
}

fn merge_texts(texts: &[&str]) -> String {
    let nodes: Vec<Vec<Section<'_>>> = texts.iter().map(|text| sections(text)).collect();
    let mut out = String::new();
    let Some(first) = nodes.first() else { return out };
    for (name, lines) in first {
        if !out.is_empty() {
            out.push_str("\r\n");
        }
        out.push_str(&format!("# {name}\r\n"));
        if !SUMMED.contains(name) && !lines.iter().any(|(field, _)| SUMMED_FIELDS.contains(field)) {
            lines.iter().for_each(|(field, value)| out.push_str(&format!("{field}:{value}\r\n")));
            continue;
        }
        for (field, value) in merge_section(name, &nodes) {
            out.push_str(&format!("{field}:{value}\r\n"));
        }
    }
    out
}

fn merge_section<'t>(name: &str, nodes: &[Vec<Section<'t>>]) -> Vec<(&'t str, String)> {
    let of =
        |node: &'_ Vec<Section<'t>>| node.iter().find(|(n, _)| *n == name).map(|(_, lines)| lines.clone());
    let nodes: Vec<Vec<(&str, &str)>> = nodes.iter().filter_map(of).collect();
    let mut order: Vec<&str> = Vec::new();
    let mut values: HashMap<&str, Vec<&str>> = HashMap::new();
    for (index, lines) in nodes.iter().enumerate() {
        for (field, value) in lines {
            if !values.contains_key(field) && (index == 0 || OPEN.contains(&name)) {
                order.push(field);
            }
            values.entry(field).or_default().push(value);
        }
    }
    let mut merged: Vec<(&str, String)> = Vec::with_capacity(order.len());
    for field in order {
        let of_field = values.get(field).map_or(&[][..], Vec::as_slice);
        let value = match field.strip_suffix("_human") {
            Some(bytes) => human_sum(merged.iter().rev().find(|(name, _)| *name == bytes), of_field),
            None if ALONE.split(' ').any(|alone| alone == field) => None,
            None if !SUMMED.contains(&name) && !SUMMED_FIELDS.contains(&field) => None,
            None => sum(of_field),
        };
        let first = || of_field.first().copied().unwrap_or_default().to_owned();
        merged.push((field, value.unwrap_or_else(first)));
    }
    merged
}

/// The sum of numbers, or of each number of `name=number,name=number` lists; None: they are something else.
fn sum(values: &[&str]) -> Option<String> {
    if values.len() < 2 {
        return None;
    }
    if values[0].contains('=') {
        return sum_fields(values);
    }
    let decimals = values[0].split_once('.').map_or(0, |(_, fraction)| fraction.len());
    if decimals == 0 {
        let numbers = values.iter().map(|value| value.parse::<i64>().ok());
        return Some(numbers.sum::<Option<i64>>()?.to_string());
    }
    let numbers = values.iter().map(|value| value.parse::<f64>().ok());
    Some(format!("{:.decimals$}", numbers.sum::<Option<f64>>()?))
}

fn sum_fields(values: &[&str]) -> Option<String> {
    let parse = |value: &'_ str| -> Option<Vec<(String, f64)>> {
        let pair = |pair: &str| pair.split_once('=').and_then(|(n, v)| Some((n.to_owned(), v.parse().ok()?)));
        value.split(',').map(pair).collect()
    };
    let nodes: Vec<_> = values.iter().map(|value| parse(value)).collect::<Option<_>>()?;
    let of = |fields: &[(String, f64)], name: &str| {
        fields.iter().find(|(n, _)| n == name).map_or(0.0, |(_, value)| *value)
    };
    let total = |name: &str| nodes.iter().map(|fields| of(fields, name)).sum::<f64>();
    // An average counts by how many it is of.
    let mean = |name: &str, weight: &str| {
        let weighted: f64 = nodes.iter().map(|fields| of(fields, name) * of(fields, weight)).sum();
        if total(weight) > 0.0 { weighted / total(weight) } else { 0.0 }
    };
    let field = |(name, _): &(String, f64)| match name.as_str() {
        "usec_per_call" => format!("{name}={:.2}", mean(name, "calls")),
        "avg_ttl" => format!("{name}={:.0}", mean(name, "expires")),
        _ => format!("{name}={:.0}", total(name)),
    };
    Some(nodes.first()?.iter().map(field).collect::<Vec<_>>().join(","))
}

/// A sum of bytes for people, if what it is of was summed.
fn human_sum(bytes: Option<&(&str, String)>, values: &[&str]) -> Option<String> {
    (values.len() > 1).then(|| bytes.and_then(|(_, sum)| sum.parse().ok()).map(human))?
}

/// As Redis writes it.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.2}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_told_where_they_say_something() {
        let a = "# Server\r\nredis_version:7.0.15\r\nrun_id:a\r\n\r\n# Memory\r\nused_memory:1024\r\n\
            used_memory_human:1.00K\r\nmem_fragmentation_ratio:1.50\r\nmaxmemory_policy:noeviction\r\n\r\n\
            # CPU\r\nused_cpu_sys:0.250000\r\n\r\n# Commandstats\r\n\
            cmdstat_get:calls=1,usec=10,usec_per_call=10.00,rejected_calls=0,failed_calls=0\r\n\r\n\
            # Keyspace\r\ndb0:keys=3,expires=1,avg_ttl=100\r\n";
        let b = "# Server\r\nredis_version:7.0.15\r\nrun_id:b\r\n\r\n# Memory\r\nused_memory:2048\r\n\
            used_memory_human:2.00K\r\nmem_fragmentation_ratio:2.50\r\nmaxmemory_policy:noeviction\r\n\r\n\
            # CPU\r\nused_cpu_sys:0.500000\r\n\r\n# Commandstats\r\n\
            cmdstat_get:calls=3,usec=10,usec_per_call=3.33,rejected_calls=0,failed_calls=1\r\n\
            cmdstat_set:calls=7,usec=7,usec_per_call=1.00,rejected_calls=0,failed_calls=0\r\n\r\n\
            # Keyspace\r\ndb0:keys=4,expires=3,avg_ttl=200\r\n";
        let both = "# Server\r\nredis_version:7.0.15\r\nrun_id:a\r\n\r\n# Memory\r\nused_memory:3072\r\n\
            used_memory_human:3.00K\r\nmem_fragmentation_ratio:1.50\r\nmaxmemory_policy:noeviction\r\n\r\n\
            # CPU\r\nused_cpu_sys:0.750000\r\n\r\n# Commandstats\r\n\
            cmdstat_get:calls=4,usec=20,usec_per_call=5.00,rejected_calls=0,failed_calls=1\r\n\
            cmdstat_set:calls=7,usec=7,usec_per_call=1.00,rejected_calls=0,failed_calls=0\r\n\r\n\
            # Keyspace\r\ndb0:keys=7,expires=4,avg_ttl=175\r\n";
        assert_eq!(merge_texts(&[a, b]), both);
        assert_eq!(merge_texts(&[a]), a);
    }

    #[test]
    fn what_is_not_saved_yet_is_of_all_nodes() {
        let text = "# Persistence\r\nloading:0\r\nrdb_changes_since_last_save:4\r\nrdb_last_save_time:17\r\n";
        let both = text.replace(":4", ":8");
        assert_eq!(merge_texts(&[text, text]), both);
    }

    #[test]
    fn the_keyspace_of_any_node_is_told() {
        let merged = merge_texts(&["# Keyspace\r\n", "# Keyspace\r\ndb0:keys=4,expires=0,avg_ttl=0\r\n"]);
        assert_eq!(merged, "# Keyspace\r\ndb0:keys=4,expires=0,avg_ttl=0\r\n");
    }

    #[test]
    fn a_node_that_does_not_tell_is_named() {
        let text = |text: &str| format!("${}\r\n{text}\r\n", text.len());
        assert_eq!(merge(&[text("# Stats\r\n"), "-LOADING\r\n".into()]), Err(1));
        let sums = merge(&[text("# Stats\r\nx:1\r\n"), text("# Stats\r\nx:2\r\n")]);
        assert_eq!(sums.as_deref(), Ok(text("# Stats\r\nx:3\r\n").as_bytes()));
        let resp3 = merge(&["=10\r\ntxt:# CPU\n\r\n", "=10\r\ntxt:# CPU\n\r\n"]);
        assert_eq!(resp3.as_deref(), Ok(&b"=11\r\ntxt:# CPU\r\n\r\n"[..]));
    }

    #[test]
    fn bytes_for_people_are_as_redis_writes_them() {
        assert_eq!(
            [human(1023), human(1024), human(1_500_000), human(u64::MAX)].join(" "),
            "1023B 1.00K 1.43M 16384.00P"
        );
    }
}
