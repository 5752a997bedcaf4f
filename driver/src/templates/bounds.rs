//! minijinja counts steps, and a filter is one step: those that could take all memory in it are bounded here.

use minijinja::value::{Rest, Value, ValueKind};
use minijinja::{filters, Environment, Error, ErrorKind, State};

/// A width, or a number of parts.
const MAX_NUMBER: usize = 10_000;
/// Of a sequence: `[0] * 1000000000000` takes no memory until a filter goes through it.
const MAX_ITEMS: usize = 100_000;

pub fn add(environment: &mut Environment<'static>) {
    for (name, filter) in [
        ("batch", Value::from_function(filters::batch)),
        ("indent", Value::from_function(filters::indent)),
        ("join", Value::from_function(filters::join)),
        ("list", Value::from_function(filters::list)),
        ("max", Value::from_function(filters::max)),
        ("min", Value::from_function(filters::min)),
        ("slice", Value::from_function(filters::slice)),
        ("sort", Value::from_function(filters::sort)),
        ("sum", Value::from_function(filters::sum)),
        ("tojson", Value::from_function(filters::tojson)),
        ("unique", Value::from_function(filters::unique)),
    ] {
        environment.add_filter(name, move |state: &State, arguments: Rest<Value>| {
            if let Some((input, rest)) = arguments.split_first() {
                let long = input.kind() != ValueKind::String
                    && input.len().is_some_and(|items| items > MAX_ITEMS);
                if long || rest.iter().any(is_large) {
                    let text = format!("filter {name} is asked for too much");
                    return Err(Error::new(ErrorKind::InvalidOperation, text));
                }
            }
            filter.call(state, &arguments)
        });
    }
}

/// A number, or one that is given by name.
fn is_large(argument: &Value) -> bool {
    match argument.kind() {
        ValueKind::Number => {
            argument.as_usize().is_none_or(|number| number > MAX_NUMBER)
                && f64::try_from(argument.clone()).is_ok_and(|number| number > MAX_NUMBER as f64)
        }
        ValueKind::Map => argument.try_iter().is_ok_and(|mut names| {
            names.any(|name| argument.get_item(&name).is_ok_and(|value| is_large(&value)))
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::context;

    #[test]
    fn what_would_take_all_memory_is_refused_and_the_rest_is_as_it_was() {
        let mut environment = Environment::new();
        add(&mut environment);
        let render = |source: &str| environment.render_str(source, context! {});
        for (source, expected) in [
            ("{{ 'a\nb' | indent(2) }}", "a\n  b"),
            ("{{ 'a\nb' | indent(width=1, first=true) }}", " a\n b"),
            ("{{ [1, 2, 3] | batch(2, 0) | list }}", "[[1, 2], [3, 0]]"),
            ("{{ [3, 1] | sort(reverse=true) | join('-') }}", "3-1"),
            ("{{ {'a': 1} | tojson(indent=1) }}", "{\n \"a\": 1\n}"),
            ("{{ [2, -3] | sum }}{{ [2, -3] | min }}{{ [2] | max }}", "-1-32"),
        ] {
            assert_eq!(render(source).unwrap(), expected, "{source}");
        }
        for source in [
            "{{ 'a\nb' | indent(1000000000000) }}",
            "{{ 'a\nb' | indent(18446744073709551615) }}",
            "{{ 'a\nb' | indent(width=1e15) }}",
            "{{ [1] | batch(1000000000000, 0) }}",
            "{{ [1] | slice(1000000000000) }}",
            "{{ ([1] * 1000000000000) | list }}",
            "{{ ([1] * 1000000000000) | join }}",
            "{{ ([1] * 1000000000000) | sum }}",
            "{{ [1] | tojson(indent=1000000000000) }}",
        ] {
            let error = render(source).unwrap_err();
            assert!(error.to_string().contains("asked for too much"), "{source}: {error}");
        }
    }
}
