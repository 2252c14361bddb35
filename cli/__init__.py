"""vgpu-admin: reads and edits the registry for administrators, and asks XAPI where needed."""
