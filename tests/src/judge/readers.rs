//! One reader, from its first event to its last.

use super::{Entry, Fault, Order, Place, Reader, Record, Seen, Verdict};

/// Follows a reader; gives back where it ended, if it began at all.
pub(super) fn walk(
    record: &Record,
    reader: &Reader,
    order: &mut Order,
    verdict: &mut Verdict,
) -> Option<Place> {
    let mut walk = Walk { record, reader, order, verdict, at: None };
    reader.seen.iter().for_each(|seen| walk.see(seen));
    walk.at
}

struct Walk<'a> {
    record: &'a Record,
    reader: &'a Reader,
    order: &'a mut Order,
    verdict: &'a mut Verdict,
    at: Option<Place>,
}

impl Walk<'_> {
    fn see(&mut self, seen: &Seen) {
        match seen {
            Seen::Began(place) => self.at = Some(place.clone()),
            Seen::Publication(entry) => self.publication(entry),
            Seen::Lost { top } => {
                self.verdict.lost += 1;
                self.at = Some(top.clone());
            }
            Seen::Recovered { top, missed } => self.recovered(top, missed),
        }
    }

    fn recovered(&mut self, top: &Place, missed: &[Entry]) {
        self.verdict.recovered += 1;
        self.verdict.caught_up += missed.len();
        let before = self.at.clone().unwrap_or_default();
        if top.epoch != before.epoch || top.offset < before.offset {
            let reader = self.reader.name.clone();
            self.fault(Fault::FalseRecovery { reader, before, top: top.clone() });
            // What follows is judged from there.
            self.at = Some(top.clone());
            return;
        }
        missed.iter().for_each(|entry| self.publication(entry));
        let reached = self.at.as_ref().map_or(0, |at| at.offset);
        if reached != top.offset {
            let (reader, found) = (self.reader.name.clone(), top.offset);
            self.fault(Fault::Gap { reader, epoch: top.epoch.clone(), after: reached, found });
        }
        self.at = Some(top.clone());
    }

    fn publication(&mut self, entry: &Entry) {
        self.verdict.seen += 1;
        let reader = self.reader.name.clone();
        let Some(Place { epoch, offset: after }) = self.at.clone() else {
            self.fault(Fault::Unasked { reader, entry: entry.clone() });
            return;
        };
        let expected = after + 1;
        if entry.offset < expected {
            self.fault(Fault::Repeated {
                reader: reader.clone(),
                epoch: epoch.clone(),
                after,
                entry: entry.clone(),
            });
        } else if entry.offset > expected {
            let (epoch, found) = (epoch.clone(), entry.offset);
            self.fault(Fault::Gap { reader: reader.clone(), epoch, after, found });
        }
        let publishers = &self.record.publishers;
        let tried = publishers.iter().find(|publisher| publisher.name == entry.payload.publisher);
        if !tried.is_some_and(|publisher| (1..=publisher.tried).contains(&entry.payload.n)) {
            self.fault(Fault::Invented { reader: reader.clone(), entry: entry.clone() });
        }
        let place = Place { epoch: epoch.clone(), offset: entry.offset };
        self.order.saw(&reader, &place, &entry.payload, self.record.lasting, &mut self.verdict.faults);
        self.at = Some(Place { epoch, offset: after.max(entry.offset) });
    }

    fn fault(&mut self, fault: Fault) {
        self.verdict.faults.push(fault);
    }
}
