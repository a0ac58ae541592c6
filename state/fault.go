package state

// DiskPoint is a moment at which something of the state has become durable, or is about to, for Options.Disk. A process
// that ends at one of them has lost nothing that it said, when it begins again.
type DiskPoint string

const (
	// BeforeWrite: the batch is not on disk. An error is what the disk says to it; one at any other point is ignored.
	BeforeWrite DiskPoint = "before write"
	// AfterWrite: the batch is durable, and nobody knows yet.
	AfterWrite DiskPoint = "after write"
	// AfterClaim: the file is ours, and the first versions are.
	AfterClaim DiskPoint = "after claim"
	// ReserveFreed: the space that is kept for a full disk is free.
	ReserveFreed DiskPoint = "reserve freed"
	// ReserveKept: it is kept, again.
	ReserveKept DiskPoint = "reserve kept"
	// BeforeCopy: the copy is complete, and has not its name. AfterCopy: it has.
	BeforeCopy DiskPoint = "before copy"
	AfterCopy  DiskPoint = "after copy"
	// BeforeMigration: the file is copied. AfterMigration: it is of the newest schema.
	BeforeMigration DiskPoint = "before migration"
	AfterMigration  DiskPoint = "after migration"
	// BeforeRestore: what was there has a second name. AfterRestore: what is restored has its name.
	BeforeRestore DiskPoint = "before restore"
	AfterRestore  DiskPoint = "after restore"
)

// watcher is told of the points; nil: nobody is.
type watcher func(DiskPoint) error

// pass is a point whose error is ignored.
func (w watcher) pass(p DiskPoint) {
	if w != nil {
		_ = w(p) // it has happened, whatever it says
	}
}

// ask is a point whose error is what the disk says.
func (w watcher) ask(p DiskPoint) error {
	if w == nil {
		return nil
	}
	return w(p)
}
