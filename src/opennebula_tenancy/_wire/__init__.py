"""What goes over the wire: templates on the way in, records on the way out."""
