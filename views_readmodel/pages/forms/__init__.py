"""What people type into the staff pages, made into what services take."""
