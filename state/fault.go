package state

// DiskPoint is a moment in the life of a batch of transactions, for Options.Disk.
type DiskPoint string

const (
	// BeforeWrite: the batch is not on disk. An error is what the disk says to it.
	BeforeWrite DiskPoint = "before write"
	// AfterWrite: the batch is durable, and nobody knows yet. An error is ignored.
	AfterWrite DiskPoint = "after write"
)

// faulty is a disk with a test around it.
type faulty struct {
	*disk
	at func(DiskPoint) error
}

func (f faulty) write(b batch) error {
	if err := f.at(BeforeWrite); err != nil {
		return f.writeError(err)
	}
	if err := f.disk.write(b); err != nil {
		return err
	}
	_ = f.at(AfterWrite) // it is written, whatever it says
	return nil
}
