package route

// storage maps every sentinel of the storage rooms.
func storage() []mapping { return nil }
