-- Operators look at the newest assignments.
CREATE INDEX assignments_by_age ON assignments (assigned_at DESC);
