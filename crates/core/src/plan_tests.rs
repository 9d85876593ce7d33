//! Every plan that is handed out keeps its policy, by the model.

use core::time::Duration;

use proptest::prelude::*;

use crate::{Bound, Plan, Platform, Policy, Set};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// No mechanism gives up on an outage that starts at the worst moment.
fn survives(plan: &Plan, outage: Duration) -> Result<(), TestCaseError> {
    let Set::To(keepalive) = plan.settings.keepalive else { panic!("{plan:?}") };
    // The outage starts just before the first probe; the last one before the verdict must come after it.
    let last = keepalive.interval() * u32::from(keepalive.probes() - 1);
    prop_assert!(last > outage, "{plan:?}");
    if let Set::To(timeout) = plan.settings.user_timeout {
        // Looked at only with probes: the same last probe must come before the timeout.
        prop_assert!(timeout > keepalive.idle() + last, "{plan:?}");
        // In flight, retransmissions double their distance: one must come between outage and timeout.
        let mut retransmission = Plan::RTO;
        while retransmission <= outage {
            retransmission = retransmission * 2 + Plan::RTO;
        }
        prop_assert!(retransmission < timeout + Plan::RTO, "{plan:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn plans_keep_what_they_promise(
        detect in 1_000u64..10_000_000,
        share in 0.0f64..0.9,
        mapping in proptest::option::of(1_000u64..8_000_000),
        slow_readers: bool,
    ) {
        let outage = ms((detect as f64 * share) as u64);
        let mut builder = Policy::detect(ms(detect)).survive(outage).slow_readers(slow_readers);
        if let Some(mapping) = mapping {
            builder = builder.mapping_timeout(ms(mapping));
        }
        let policy = builder.build().unwrap();
        let platform = Platform::linux();
        match policy.plan(&platform) {
            Ok(plan) => {
                let Bound::Within { most, .. } = plan.detection.idle else { panic!("{plan:?}") };
                prop_assert!(most <= ms(detect), "{plan:?}");
                if let (Bound::Within { most, .. }, false) = (plan.detection.in_flight, slow_readers) {
                    prop_assert!(most <= ms(detect), "{plan:?}");
                }
                let Set::To(keepalive) = plan.settings.keepalive else { panic!("{plan:?}") };
                if let Some(mapping) = mapping {
                    prop_assert!(platform.latest(keepalive.idle()) < ms(mapping), "{plan:?}");
                }
                survives(&plan, outage)?;
            }
            // A refusal names a best that is worse than what was wanted.
            Err(refusal) => prop_assert!(refusal.best > refusal.wanted, "{refusal:?}"),
        }
    }

    #[test]
    fn what_is_called_the_best_can_be_had(detect in 1_000u64..100_000, share in 0.0f64..0.9) {
        let outage = ms((detect as f64 * share) as u64);
        let policy = Policy::detect(ms(detect)).survive(outage).build().unwrap();
        if let Err(refusal) = policy.plan(&Platform::linux()) {
            let again = Policy::detect(ms(refusal.best * 2)).survive(outage).build().unwrap();
            prop_assert!(again.plan(&Platform::linux()).is_ok(), "{refusal:?}");
        }
    }
}
