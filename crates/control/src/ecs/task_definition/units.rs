//! Task-level `cpu` and `memory`, which may be written with units: `"1 vCPU"` is stored as `"1024"`, `"0.5GB"` as `"512"`.

/// CPU units of a task: a whole number, or a number of vCPUs of 1,024 units each.
pub(in crate::ecs) fn cpu(text: &str) -> Option<u32> {
    read(text, "vcpu")
}

/// MiB of a task's memory: a whole number, or a number of GB of 1,024 MiB each.
pub(in crate::ecs) fn memory(text: &str) -> Option<u32> {
    read(text, "gb")
}

fn read(text: &str, unit: &str) -> Option<u32> {
    let text = text.trim().to_ascii_lowercase();
    match text.strip_suffix(unit) {
        None => digits(&text),
        Some(number) => thousandths(number.trim_end()).filter(|n| n % 1000 == 0).map(|n| n / 1000),
    }
}

fn digits(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// 1,024 times a decimal number with at most three places, in thousandths.
fn thousandths(number: &str) -> Option<u32> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.len() > 3 {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { digits(whole)? };
    let fraction = if fraction.is_empty() { 0 } else { digits(&format!("{fraction:0<3}"))? };
    whole.checked_mul(1000)?.checked_add(fraction)?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_and_their_absence() {
        let cases = [
            ("256", Some(256)),
            ("1 vCPU", Some(1024)),
            (".25 vcpu", Some(256)),
            ("0.5vCPU", Some(512)),
            ("192 vCPU", Some(196_608)),
            ("", None),
            ("vCPU", None),
            (". vCPU", None),
            ("-1", None),
            ("1.5", None),
            ("1e3", None),
            ("0.0001 vCPU", None),
            ("0.001 vCPU", None),
            ("99999999999", None),
            ("1GB", None),
        ];
        for (text, expected) in cases {
            assert_eq!(cpu(text), expected, "{text:?}");
        }
        assert_eq!(
            (memory("0.5GB"), memory("1 gb"), memory("120 GB")),
            (Some(512), Some(1024), Some(122_880))
        );
        assert_eq!(memory("1 vCPU"), None);
    }

    proptest! {
        #[test]
        fn a_normal_form_stays_itself_and_quarters_agree(quarters in 1_u32..=768, space in " {0,2}") {
            let written = format!("{}.{:02}{space}vCPU", quarters / 4, quarters % 4 * 25);
            let units = cpu(&written);
            prop_assert_eq!(units, Some(quarters * 256));
            prop_assert_eq!(cpu(&units.unwrap_or_default().to_string()), units);
        }

        #[test]
        fn nothing_panics(text in ".{0,40}") {
            let (cpu, memory) = (cpu(&text), memory(&text));
            prop_assert!(cpu.is_none() || memory.is_none() || cpu == memory);
        }
    }
}
