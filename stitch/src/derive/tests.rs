use super::*;

#[test]
fn every_rule_has_a_bit() {
    // One is left for `NAMES_INVOCATION`.
    assert!(rules().count() < Mask::BITS as usize);
}

#[test]
fn an_attribute_turns_its_rules_on_under_each_of_its_names() {
    for (i, rule) in rules().enumerate() {
        for key in rule.reads {
            let aliases = promoted::PROMOTED.iter().filter(|p| p.key == *key).flat_map(|p| p.aliases);
            for name in std::iter::once(key).chain(aliases) {
                let mut layout = String::new();
                Layout::push_text(&mut layout, hopline_model::AttributeType::String, false, name);
                Layout::close(&mut layout);
                assert!(mask_of(&layout) & bit(i) != 0, "{} by {name}", rule.name);
            }
        }
    }
    assert_eq!(mask_of(""), 0);
    assert_eq!(mask_of("[\"s.app.items\"]"), 0);
}
