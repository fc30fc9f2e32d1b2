"""Writers that write on threads of their own, and to several writers at once."""
