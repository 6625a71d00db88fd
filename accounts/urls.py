"""The paths of people and sessions."""

from __future__ import annotations

from django.urls import path

from accounts import views

urlpatterns = [
    path("auth/register", views.RegisterView.as_view()),
    path("auth/login", views.LoginView.as_view()),
    path("auth/refresh", views.RefreshView.as_view()),
    path("auth/logout", views.LogoutView.as_view()),
    path("auth/password", views.PasswordView.as_view()),
    path("auth/sessions", views.SessionListView.as_view()),
    path("auth/sessions/<str:session_id>", views.SessionView.as_view()),
    path("user/me", views.MeView.as_view()),
    path("user/me/picture", views.MyPictureView.as_view()),
    path("user/status", views.StatusView.as_view()),
    path("user/search", views.SearchView.as_view()),
    path("user/<str:user_id>", views.UserView.as_view()),
    path("user/<str:user_id>/picture", views.PictureView.as_view()),
]
