//! Reconciling: the database's side is made what the attr files say, file by file. No file is touched.

use std::sync::{Mutex, PoisonError};

use element_api::InspectionReport;

use super::Files;
use super::inspect::{CareError, Course, Plan, Reading, Rows, Watch};

impl Files {
    /// Looks at every file and row and repairs the rows.
    ///
    /// # Errors
    /// When the database or the store fails; what was repaired stays so.
    pub async fn reconcile(&self, watch: &dyn Watch) -> Result<InspectionReport, CareError> {
        let course = Mutex::new(Course::default());
        let plan = Plan {
            rows: Rows::Repair,
            content: Reading::No,
            may_quarantine: &|| false,
            restore: false,
            offline: false,
        };
        self.inspect(plan, &course, watch).await?;
        self.recount().await;
        let course = course.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(course.report)
    }
}
